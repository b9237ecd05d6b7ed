package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/storage"
)

// toJSON returns a value in JSON, whatever form it came in. Bytes that are text
// are a string, others base64.
func toJSON(body bus.Body) (json.RawMessage, error) {
	if body.Codec == storage.JSON && len(body.Data) > 0 {
		if !json.Valid(body.Data) {
			return nil, errors.New("the value is said to be JSON and is not")
		}
		return body.Data, nil
	}
	var v any
	if len(body.Data) > 0 || body.Codec == storage.Text {
		if err := body.Codec.Unmarshal(body.Data, &v); err != nil {
			return nil, fmt.Errorf("the value can't be read as %s: %w", body.Codec, err)
		}
	}
	return storage.JSON.Marshal(bytesApart(v))
}

// readAs returns a value in JSON that is in the form of --codec, or else as it is
// there.
func readAs(form string, data []byte) json.RawMessage {
	value, err := toJSON(bus.Body{Codec: codecOf(form, data), Data: data})
	if err != nil {
		value, _ = storage.JSON.Marshal(string(data))
	}
	return value
}

// codecOf is the codec of a form. For auto, what is exactly one value of msgpack is
// taken for that: a text would have to be a single letter.
func codecOf(form string, data []byte) storage.Codec {
	if codec, ok := codecs[form]; ok {
		return codec
	}
	var v any
	switch {
	case storage.MsgPack.Unmarshal(data, &v) == nil:
		return storage.MsgPack
	case storage.JSON.Unmarshal(data, &v) == nil:
		return storage.JSON
	}
	return storage.Text
}

// bytesApart makes bytes of the strings that are no text: msgpack's bytes are
// strings where the Go type is any, and JSON would lose what is no UTF-8.
func bytesApart(v any) any {
	switch v := v.(type) {
	case string:
		if !utf8.ValidString(v) {
			return []byte(v)
		}
	case []byte: // of storage.Raw
		return bytesApart(string(v))
	case []any:
		for i := range v {
			v[i] = bytesApart(v[i])
		}
	case map[string]any:
		for key := range v {
			v[key] = bytesApart(v[key])
		}
	}
	return v
}

// text is a value for people: a string as it is, all else as JSON, on a terminal
// with line breaks if there is much of it.
func (t *tool) text(value json.RawMessage) string {
	var s string
	if json.Unmarshal(value, &s) == nil && len(value) > 0 && value[0] == '"' {
		return s
	}
	var b bytes.Buffer
	if err := json.Compact(&b, value); err != nil {
		return string(value)
	}
	if t.dress.terminal && b.Len() > 80 {
		b.Reset()
		_ = json.Indent(&b, value, "", "  ")
	}
	return b.String()
}

// fromWord reads what was typed for a value: JSON if it is that, or else text.
func fromWord(word string) any {
	var v any
	if storage.JSON.Unmarshal([]byte(word), &v) == nil {
		return v
	}
	return word
}

// shape is a JSON Schema for people: {a: number, b: [string]}.
func shape(schema json.RawMessage) string {
	var s struct {
		Type       any                        `json:"type"`
		Properties map[string]json.RawMessage `json:"properties"`
		Items      json.RawMessage            `json:"items"`
		Additional json.RawMessage            `json:"additionalProperties"`
	}
	if schema == nil || json.Unmarshal(schema, &s) != nil {
		return "any"
	}
	if kinds, ok := s.Type.([]any); ok { // null or something
		s.Type = kinds[len(kinds)-1]
	}
	switch {
	case s.Type == "array":
		return "[" + shape(s.Items) + "]"
	case s.Type == "object" && len(s.Properties) > 0:
		var parts []string
		for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
			parts = append(parts, name+": "+shape(s.Properties[name]))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case s.Type == "object" && len(s.Additional) > 0 && s.Additional[0] == '{' && string(s.Additional) != `{"not":{}}`:
		return "{…: " + shape(s.Additional) + "}"
	case s.Type == "object":
		return "{}"
	}
	if kind, ok := s.Type.(string); ok {
		return kind
	}
	return "any"
}
