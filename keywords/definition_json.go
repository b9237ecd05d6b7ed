package keywords

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/heliograph/heliograph/internal/redisio"
)

const (
	// definitionVersion is raised when a field changes its meaning. A new field does not
	// raise it, since readers skip fields that they don't know.
	definitionVersion = 1

	maxFile = 16 << 20 // bytes of a file of definitions
)

// plain is a Definition without its methods.
type plain Definition

// published is the JSON form of a Definition.
type published struct {
	Version int `json:"version"`
	plain
	Min     json.RawMessage `json:"min,omitempty"`
	Max     json.RawMessage `json:"max,omitempty"`
	Initial json.RawMessage `json:"initial,omitempty"`
	Period  float64         `json:"period,omitempty"`
}

// MarshalJSON returns the completed definition, as dispatchers publish it.
func (d Definition) MarshalJSON() ([]byte, error) {
	r, err := d.ready()
	if err != nil {
		return nil, err
	}
	p := published{Version: definitionVersion, plain: plain(d), Period: d.Period.Seconds()}
	if d.rules == nil {
		d, _ = d.Complete()
		p.plain = plain(d)
	}
	for _, field := range []struct {
		v   any
		raw *json.RawMessage
	}{{d.Min, &p.Min}, {d.Max, &p.Max}, {d.Initial, &p.Initial}} {
		if *field.raw, err = r.toJSON(field.v); err != nil {
			return nil, err
		}
	}
	return json.Marshal(p)
}

// UnmarshalJSON reads what MarshalJSON returns and completes it. Unknown fields are
// skipped.
func (d *Definition) UnmarshalJSON(data []byte) error { return d.readJSON(data, false) }

func (d *Definition) readJSON(data []byte, strict bool) error {
	var p published
	dec := json.NewDecoder(bytes.NewReader(data))
	if strict {
		dec.DisallowUnknownFields()
	}
	err := dec.Decode(&p)
	got := Definition(p.plain)
	switch {
	case err != nil:
		err = errors.New(strings.TrimPrefix(err.Error(), "json: "))
	case p.Version < 0 || p.Version > definitionVersion:
		err = badField("version", "%d, this program reads up to %d", p.Version, definitionVersion)
	case got.Kind == 0:
		err = badField("kind", "missing")
	case math.Abs(p.Period) > math.MaxInt64/1e9:
		err = badField("period", "%v is too long", p.Period)
	}
	if err != nil {
		return redisio.Wrap(fmt.Sprintf("keywords: %v", got), err)
	}
	got.Period = time.Duration(math.Round(p.Period * 1e9))
	// Only the kind and the names determine how values are written.
	r, err := newRules(&Definition{Kind: got.Kind, Enumerators: got.Enumerators, Bits: got.Bits})
	if err != nil {
		return fmt.Errorf("keywords: %v: %w", got, err)
	}
	for _, field := range []struct {
		name string
		raw  json.RawMessage
		v    *any
	}{{"min", p.Min, &got.Min}, {"max", p.Max, &got.Max}, {"initial", p.Initial, &got.Initial}} {
		if *field.v, err = r.fromJSON(field.raw); err != nil {
			return fmt.Errorf("keywords: %v: %s: %s", got, field.name, reason(err))
		}
	}
	if got, err = got.Complete(); err != nil {
		return err
	}
	*d = got
	return nil
}

// toJSON returns booleans, numbers and arrays as such, and other values as their text.
func (r *rules) toJSON(v any) (json.RawMessage, error) {
	if v == nil {
		return nil, nil
	}
	switch v := v.(type) {
	case bool:
		return json.Marshal(v)
	case int64:
		if r.kind != KindEnumerated && r.kind != KindMask {
			return json.Marshal(v)
		}
	case float64:
		if isFinite(v) {
			return r.appendText(nil, v), nil
		}
	case []bool, []int64, []string:
		return json.Marshal(v)
	case []float64:
		list := make([]any, len(v))
		for i, f := range v {
			text := appendFloat(nil, f, r.kind.floatSize())
			if list[i] = string(text); isFinite(f) {
				list[i] = json.RawMessage(text)
			}
		}
		return json.Marshal(list)
	}
	return json.Marshal(string(r.appendText(nil, v)))
}

func isFinite(f float64) bool { return !math.IsNaN(f) && !math.IsInf(f, 0) }

// fromJSON reads what toJSON returns, and the text of any value. Numbers keep all their
// digits.
func (r *rules) fromJSON(raw json.RawMessage) (any, error) {
	switch {
	case len(raw) == 0 || string(raw) == "null":
		return nil, nil
	case raw[0] == '[' && r.kind.isArray():
		return r.arrayFromJSON(raw)
	case raw[0] == '"':
		var text string
		if err := json.Unmarshal(raw, &text); err != nil {
			return nil, err
		}
		return r.parse(text)
	case raw[0] == '[' || raw[0] == '{' || r.kind == KindString || r.kind == KindBytes:
		return nil, fmt.Errorf("%.40s is not a value of a keyword that is %v", raw, r.kind)
	}
	return r.parse(string(raw))
}

func (r *rules) arrayFromJSON(raw json.RawMessage) (any, error) {
	var elements []json.RawMessage
	if err := json.Unmarshal(raw, &elements); err != nil {
		return nil, err
	}
	words := make([]string, len(elements))
	for i, e := range elements {
		if e[0] != '"' {
			if words[i] = string(e); r.kind == KindStringArray {
				return nil, fmt.Errorf("element %d: %.40s is not a string", i, e)
			}
		} else if err := json.Unmarshal(e, &words[i]); err != nil {
			return nil, err
		}
	}
	return r.parseWords(words)
}

// LoadDefinitions reads a JSON array of definitions, of at most 16 MiB, and completes them.
// Since a person wrote the array, unknown fields and a keyword given twice are errors.
// Errors name the keyword and the field.
func LoadDefinitions(r io.Reader) ([]Definition, error) {
	data, err := readFile(r)
	if err != nil {
		return nil, err
	}
	var list []json.RawMessage
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("keywords: definitions: want a JSON array: %w", err)
	}
	defs := make([]Definition, len(list))
	for i, raw := range list {
		if err := defs[i].readJSON(raw, true); err != nil {
			return nil, fmt.Errorf("keywords: definition %d: %s", i, strings.TrimPrefix(err.Error(), "keywords: "))
		}
	}
	return defs, checkTwice(defs)
}

func checkTwice(defs []Definition) error {
	seen := make(map[string]bool)
	for _, d := range defs {
		if seen[d.String()] {
			return fmt.Errorf("keywords: %v: defined twice", d)
		}
		seen[d.String()] = true
	}
	return nil
}

func readFile(r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = errors.New("more than " + strconv.Itoa(maxFile) + " bytes")
	}
	if err != nil {
		return nil, fmt.Errorf("keywords: definitions: %w", err)
	}
	return data, nil
}
