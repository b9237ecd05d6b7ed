package jobs

import (
	"time"

	"github.com/heliograph/heliograph/storage"
)

// record is a job as Redis has it, in msgpack: the field j of an entry, or a field of
// the hash of jobs that are due later or dead. Times and durations are in ms.
type record struct {
	ID       string            `json:"id,omitempty"` // "": that of its entry
	Method   string            `json:"m"`
	Codec    storage.Codec     `json:"c,omitempty"`
	Args     []byte            `json:"b,omitempty"`
	Header   map[string]string `json:"h,omitempty"`
	Priority Priority          `json:"p,omitempty"`
	At       int64             `json:"t"`            // when it was submitted
	Expires  int64             `json:"x,omitempty"`  // when it is not worth running any more; 0: never
	Timeout  int64             `json:"to,omitempty"` // of an attempt; 0: none
	Attempts int               `json:"n"`            // at most
	Used     int               `json:"u,omitempty"`  // attempts that have ended
	Keep     int64             `json:"k,omitempty"`  // how long the result is kept; 0: not
	Remember int64             `json:"r,omitempty"`  // how long the id is known after the job was done
	Group    string            `json:"g,omitempty"`
	Flow     string            `json:"fl,omitempty"` // the flow's id
	Unique   string            `json:"q,omitempty"`  // key that is free when the job has ended

	Error  string `json:"e,omitempty"` // of the last attempt
	Stack  string `json:"s,omitempty"`
	Worker string `json:"w,omitempty"`
	Failed int64  `json:"f,omitempty"` // when
}

func (r *record) pack() ([]byte, error) { return storage.MsgPack.Marshal(r) }

// unpackRecord decodes a record, and checks what a worker relies on.
func unpackRecord(data string) (r record, err error) {
	if err = storage.MsgPack.Unmarshal([]byte(data), &r); err != nil {
		return record{}, err
	}
	switch {
	case r.Priority < 0 || r.Priority >= priorities:
		return record{}, invalid("priority %d", r.Priority)
	case !r.Codec.Valid():
		return record{}, invalid("unknown %v", r.Codec)
	case r.Timeout < 0 || r.Keep < 0 || r.Remember < 0 || r.Used < 0:
		return record{}, invalid("negative duration or number")
	}
	return r, nil
}

// watched reports whether other jobs wait for the end of this one, so that a script ends it.
func (r *record) watched() bool { return r.Group != "" || r.Unique != "" || r.Flow != "" }

// member is a job in the zset of jobs that are due later.
func (r *record) member() string { return r.Priority.letter() + r.ID }

// result is what is kept of a job that was done.
type result struct {
	Codec storage.Codec `json:"c,omitempty"`
	Data  []byte        `json:"b,omitempty"`
	Kept  bool          `json:"k,omitempty"` // false: the id is known, the result was not kept
}

func ms(d time.Duration) int64 { return d.Milliseconds() }

// timeOf returns the time at a number of ms of the Unix epoch, zero at 0.
func timeOf(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

func length(ms int64) time.Duration { return time.Duration(ms) * time.Millisecond }
