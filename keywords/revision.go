package keywords

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Revision identifies one committed value of a keyword. Revisions are totally
// ordered, and none is used twice: Epoch rises with each tenure of the keyword's
// dispatcher, which begins when a dispatcher takes over or finds that Redis has lost
// commits, and N rises by one with each value inside an epoch, over all keywords of
// the dispatcher.
type Revision struct {
	Epoch uint64 // the dispatcher's fencing number, at least the µs of the Unix epoch at its begin
	N     uint64
}

// Compare returns -1 if r is older than o, 1 if it is newer, and 0 if they are the
// same.
func (r Revision) Compare(o Revision) int {
	return cmp.Or(cmp.Compare(r.Epoch, o.Epoch), cmp.Compare(r.N, o.N))
}

// String returns epoch:n, or "" for the zero Revision.
func (r Revision) String() string {
	if r == (Revision{}) {
		return ""
	}
	return strconv.FormatUint(r.Epoch, 10) + ":" + strconv.FormatUint(r.N, 10)
}

// entryID returns the revision as the id of a line in a history.
func (r Revision) entryID() string {
	return strconv.FormatUint(r.Epoch, 10) + "-" + strconv.FormatUint(r.N, 10)
}

// ParseRevision reads what [Revision.String] returns.
func ParseRevision(s string) (Revision, error) {
	if s == "" {
		return Revision{}, nil
	}
	epoch, n, ok := strings.Cut(s, ":")
	var r Revision
	var errEpoch, errN error
	r.Epoch, errEpoch = strconv.ParseUint(epoch, 10, 64)
	r.N, errN = strconv.ParseUint(n, 10, 64)
	if !ok || errEpoch != nil || errN != nil {
		return Revision{}, fmt.Errorf("keywords: revision %.64q: want epoch:n", s)
	}
	return r, nil
}

// MarshalText returns what [Revision.String] returns.
func (r Revision) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads what MarshalText returns.
func (r *Revision) UnmarshalText(text []byte) (err error) {
	*r, err = ParseRevision(string(text))
	return err
}

// Value is a value of a keyword, with when, how and by whom it was set.
type Value[T any] struct {
	V        T         `json:"value"`
	Rev      Revision  `json:"revision"`         // in JSON: "epoch:n"
	Time     time.Time `json:"time"`             // when the dispatcher set it, by the clock of Redis, or SetOptions.Time
	Quality  Quality   `json:"quality"`          // whether a dispatcher keeps it up to date
	Severity Severity  `json:"severity"`         // by the keyword's Alarm, or SetOptions.Severity if that is worse
	Text     string    `json:"text,omitempty"`   // SetOptions.Text, such as why it has its severity
	Source   string    `json:"source,omitempty"` // user@host:pid/program of the client that set it; empty: the dispatcher itself
}

// Quality says whether a value is kept up to date.
type Quality uint8

const (
	QualityGood         Quality = iota // a dispatcher lives
	QualityStale                       // no dispatcher lives; the value is the last that was set
	QualityDisconnected                // the watching client can't reach Redis; the value is the last that it knows
)

var qualityNames = [...]string{"good", "stale", "disconnected"}

// String returns good, stale or disconnected.
func (q Quality) String() string {
	if int(q) >= len(qualityNames) {
		return fmt.Sprintf("quality %d", uint8(q))
	}
	return qualityNames[q]
}

// MarshalText returns the quality's name.
func (q Quality) MarshalText() ([]byte, error) {
	if int(q) >= len(qualityNames) {
		return nil, fmt.Errorf("keywords: no %v", q)
	}
	return []byte(q.String()), nil
}

// UnmarshalText reads the name of a quality.
func (q *Quality) UnmarshalText(text []byte) error {
	i := slices.Index(qualityNames[:], string(text))
	if i < 0 {
		return fmt.Errorf("keywords: no quality %.40q", text)
	}
	*q = Quality(i)
	return nil
}

// record is a value as Redis holds it.
type record struct {
	name     string
	text     string // canonical
	rev      Revision
	at       int64 // µs of the Unix epoch
	severity Severity
	source   string
	remark   string // Value.Text
}

// sameValue reports whether two records differ in nothing but their revision.
func (r record) sameValue(o record) bool {
	o.rev = r.rev
	return r == o
}

// valueOf returns v as the Value that r describes.
func valueOf[T any](r *record, v T) Value[T] {
	return Value[T]{V: v, Rev: r.rev, Time: time.UnixMicro(r.at), Severity: r.severity, Text: r.remark, Source: r.source}
}

// typed returns r as a value of k. A record without a value yields the zero T.
func typed[T Type](k Keyword[T], r *record) (v Value[T], err error) {
	v = valueOf(r, v.V)
	if r.at == 0 && r.text == "" {
		return v, nil
	}
	canonical, err := k.def.Parse(r.text)
	if err != nil {
		return Value[T]{}, err
	}
	v.V, err = k.decode(canonical)
	return v, err
}

// asText returns r as a value in canonical text.
func asText(r *record) (Value[string], error) { return valueOf(r, r.text), nil }
