package keywords

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Revision numbers the values that a dispatcher has committed. Inside an epoch N
// rises by one with each, over all keywords of the dispatcher. A new epoch
// begins when Redis has forgotten what the dispatcher wrote: revisions of two
// epochs have no order.
type Revision struct {
	Epoch string
	N     uint64
}

// String returns epoch:n, "" for the zero Revision.
func (r Revision) String() string {
	if r == (Revision{}) {
		return ""
	}
	return r.Epoch + ":" + strconv.FormatUint(r.N, 10)
}

// ParseRevision reads what String has returned.
func ParseRevision(s string) (Revision, error) {
	if s == "" {
		return Revision{}, nil
	}
	epoch, n, ok := strings.Cut(s, ":")
	if ok && epoch != "" {
		if n, err := strconv.ParseUint(n, 10, 64); err == nil {
			return Revision{epoch, n}, nil
		}
	}
	return Revision{}, fmt.Errorf("keywords: revision %.64q: want epoch:n", s)
}

// Value is a value of a keyword and what there is to know of it.
type Value[T any] struct {
	V        T
	Rev      Revision
	Time     time.Time // when the dispatcher had it, in the time of Redis
	Quality  Quality
	Severity Severity
	Source   string // who set it: user@host:pid/program, or "" for the dispatcher itself
}

// Quality says whether a value is kept up to date.
type Quality uint8

const (
	QualityGood  Quality = iota
	QualityStale         // no dispatcher lives: it is the last that one has left
)

// String returns good or stale.
func (q Quality) String() string {
	if q == QualityStale {
		return "stale"
	}
	return "good"
}

// record is a value as it lies in Redis.
type record struct {
	name     string
	text     string // the canonical form
	rev      Revision
	at       int64 // µs of the Unix epoch
	severity Severity
	source   string
}

// valueOf is a record as a value, which is v.
func valueOf[T any](r *record, v T) Value[T] {
	return Value[T]{V: v, Rev: r.rev, Time: time.UnixMicro(r.at), Severity: r.severity, Source: r.source}
}

// typed is a record as the value of a keyword.
func typed[T Type](k Keyword[T], r *record) (v Value[T], err error) {
	v = valueOf(r, v.V)
	if r.at == 0 && r.text == "" {
		return v, nil // there is none
	}
	canonical, err := k.def.Parse(r.text)
	if err != nil {
		return Value[T]{}, err
	}
	v.V, err = k.decode(canonical)
	return v, err
}

// asText is a record as a value in canonical text.
func asText(r *record) (Value[string], error) { return valueOf(r, r.text), nil }
