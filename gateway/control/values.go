package control

import (
	"encoding/json"

	"github.com/heliograph/heliograph/keywords"
)

// typed returns a value in its type, as JSON has it.
func typed(def keywords.Definition, v keywords.Value[string]) keywords.Value[any] {
	return keywords.Value[any]{
		V: content(def, v.V), Rev: v.Rev, Time: v.Time, Quality: v.Quality, Severity: v.Severity, Text: v.Text, Source: v.Source,
	}
}

// typedEvent returns an event with typed values.
func typedEvent(def keywords.Definition, ev keywords.Event[string]) keywords.Event[any] {
	out := keywords.Event[any]{
		Kind: ev.Kind, Service: ev.Service, Keyword: ev.Keyword, Value: typed(def, ev.Value), Gap: ev.Gap, Definition: ev.Definition,
	}
	if ev.Prev != nil {
		prev := typed(def, *ev.Prev)
		out.Prev = &prev
	}
	return out
}

// content returns a value for JSON: a number, a boolean, a string, or an array of these. An
// enumerator is its name, and a mask its text. A number that JSON does not have, such as
// NaN, is its text, and so is what can't be read as the keyword's type. Null: there is none.
func content(def keywords.Definition, text string) any {
	v, err := def.Parse(text)
	if err != nil && text == "" {
		return nil
	}
	switch def.Kind {
	case keywords.KindEnumerated, keywords.KindMask, keywords.KindBytes:
		return text
	}
	if err == nil {
		_, err = json.Marshal(v)
	}
	if err != nil {
		return text
	}
	return v
}
