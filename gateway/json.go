package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"unicode/utf8"
)

// JSON is the protocol heliograph.json.v1: one JSON object a message, in both
// directions, with ids.
var JSON Protocol = jsonProtocol{}

// Plain is the protocol of clients that send no commands: their messages are for the
// hooks. They get the bare contents of messages and broadcasts, and nothing else.
// Clients of filtered_websocket speak it; see package gateway/fws.
var Plain Protocol = plain{}

type jsonProtocol struct{}

func (jsonProtocol) Name() string { return "heliograph.json.v1" }

func (jsonProtocol) Parse(message []byte, args int) (Request, error) {
	if !utf8.Valid(message) { // a binary message; its id would be sent back as text
		return Request{}, Errorf(CodeBadCommand, "not UTF-8")
	}
	var in struct {
		ID      json.RawMessage `json:"id"`
		Command string          `json:"command"`
		Args    json.RawMessage `json:"args"`
		Options json.RawMessage `json:"options"`
	}
	dec := json.NewDecoder(bytes.NewReader(message))
	dec.DisallowUnknownFields()
	err := dec.Decode(&in)
	if len(in.ID) > maxID || len(in.ID) > 0 && (in.ID[0] == '{' || in.ID[0] == '[') {
		return Request{}, Errorf(CodeBadCommand, "the id must be a string or a number of at most %d bytes", maxID)
	}
	r := Request{Command: in.Command, Ref: in.ID}
	if err != nil {
		return r, Errorf(CodeBadCommand, "not a command: %s", jsonProblem(err))
	}
	switch _, err := dec.Token(); {
	case !errors.Is(err, io.EOF):
		return r, Errorf(CodeBadCommand, "not a command: more follows after the object")
	case r.Command == "":
		return r, Errorf(CodeBadCommand, `no "command"`)
	}
	words := 0
	err = eachElement("args", '[', in.Args, func(_ string, raw json.RawMessage) error {
		word, err := argument(raw)
		if words++; err == nil && words > args {
			err = tooManyArgs(args)
		}
		r.Args = append(r.Args, word)
		return err
	})
	if err != nil {
		return r, err
	}
	return r, eachElement("options", '{', in.Options, func(name string, raw json.RawMessage) error {
		word, err := argument(raw)
		if words++; err == nil && words > args {
			err = tooManyArgs(args)
		}
		if r.Options == nil {
			r.Options = make(map[string]string)
		}
		r.Options[name] = word
		return err
	})
}

// eachElement calls do with each element of an array or object, until it returns an error.
// raw is valid JSON; nothing and null have no elements.
func eachElement(what string, open json.Delim, raw json.RawMessage, do func(name string, value json.RawMessage) error) error {
	if len(raw) == 0 || string(raw) == "null" {
		return nil
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	if first, _ := dec.Token(); first != open {
		return Errorf(CodeBadCommand, "not a command: %s must be %s", what, kinds[open])
	}
	for dec.More() {
		var name string
		if open == '{' {
			token, err := dec.Token()
			if err != nil {
				return err
			}
			name, _ = token.(string)
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return err
		}
		if err := do(name, value); err != nil {
			return err
		}
	}
	return nil
}

var kinds = map[json.Delim]string{'[': "an array", '{': "an object"}

// maxID is the maximum size of an id in bytes: reading a hash of 10,000 fields sends
// it as many times.
const maxID = 128

// jsonProblem describes an error of encoding/json without naming Go types.
func jsonProblem(err error) string {
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		return wrong.Field + " must not be a " + wrong.Value
	}
	return strings.TrimPrefix(err.Error(), "json: ")
}

// argument returns an argument: a string unquoted, a number unchanged, true and false
// as 1 and 0, an object or array as JSON.
func argument(raw json.RawMessage) (string, error) {
	if len(raw) > 0 && raw[0] == '"' {
		var s string
		if err := json.Unmarshal(raw, &s); err != nil {
			return "", Errorf(CodeBadCommand, "not a string: %s", jsonProblem(err))
		}
		return s, nil
	}
	switch s := string(raw); s {
	case "null":
		return "", Errorf(CodeBadCommand, "null is not an argument")
	case "true":
		return "1", nil
	case "false":
		return "0", nil
	default:
		return s, nil
	}
}

func (jsonProtocol) Append(dst []byte, f *Frame) []byte {
	id := func() {
		if f.Ref != nil {
			dst = append(append(dst, `,"id":`...), f.Ref...)
		}
	}
	switch f.Kind {
	case KindBroadcast:
		return append(dst, f.Content...)
	case KindPublication:
		dst = appendString(append(dst, `{"type":"message","channel":`...), f.Source)
		dst = appendJSON(append(dst, `,"content":`...), f.Content)
		dst = appendTime(append(dst, `,"time":`...), f.Time)
		if f.Offset != "" {
			dst = appendString(append(dst, `,"offset":`...), f.Offset)
		}
	case KindValue:
		dst = append(dst, `{"type":"value"`...)
		id()
		dst = appendString(append(dst, `,"source":`...), f.Source)
		dst = appendJSON(append(dst, `,"content":`...), f.Content)
	case KindDone:
		dst = append(dst, `{"type":"done"`...)
		id()
	case KindError:
		dst = append(dst, `{"type":"error"`...)
		id()
		dst = appendString(append(dst, `,"code":`...), string(f.Code))
		dst = appendString(append(dst, `,"message":`...), f.Message)
	case KindStatus:
		dst = append(dst, `{"type":"status"`...)
		id()
		if rest := bytes.TrimPrefix(bytes.TrimSpace(f.Content), []byte{'{'}); len(rest) > 1 {
			return append(append(dst, ','), rest...)
		}
	}
	return append(dst, '}')
}

type plain struct{}

func (plain) Name() string                       { return "" }
func (plain) Parse([]byte, int) (Request, error) { return Request{}, nil }

func (plain) Append(dst []byte, f *Frame) []byte {
	switch {
	case f.Kind != KindPublication && f.Kind != KindBroadcast:
		return dst
	case f.Raw != nil:
		return append(dst, f.Raw...)
	}
	return append(dst, f.Content...)
}
