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

// toJSON returns a value of any codec in JSON. Bytes that are UTF-8 become a string,
// others base64.
func toJSON(body bus.Body) (json.RawMessage, error) {
	if body.Codec == storage.JSON && len(body.Data) > 0 {
		if !json.Valid(body.Data) {
			return nil, errors.New("the value should be JSON and is not")
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

// readAs decodes a value as --codec says and returns it in JSON, or as a JSON string if
// it can't be decoded.
func readAs(form string, data []byte) json.RawMessage {
	value, err := toJSON(bus.Body{Codec: codecOf(form, data), Data: data})
	if err != nil {
		value, _ = storage.JSON.Marshal(string(data))
	}
	return value
}

// codecOf returns the codec for --codec. With auto, data that is exactly one msgpack
// value is read as msgpack: only a text of one letter would be that too.
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

// bytesApart replaces strings that are not UTF-8 by bytes. Decoded into any, msgpack's
// bytes are strings, and JSON can't hold them.
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

// text returns a value for text output: a string as it is, anything else as JSON, with
// line breaks if it is long and the output is a terminal.
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

// fromWord returns the value of a typed word: its JSON value, or else the word itself.
func fromWord(word string) any {
	var v any
	if storage.JSON.Unmarshal([]byte(word), &v) == nil {
		return v
	}
	return word
}

// shape returns a JSON Schema in short: {a: number, b: [string]}.
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
	if kinds, ok := s.Type.([]any); ok { // null or one more
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
