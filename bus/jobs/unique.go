package jobs

import (
	"crypto/sha256"
	"encoding/base64"
	"time"
	"unicode/utf8"

	"github.com/heliograph/heliograph/storage"
)

// Unique says what becomes of a job that is submitted while another has the same key. The
// zero value is that both are run.
type Unique struct {
	// Mode says what becomes of the second job. Defaults to UniqueRefuse if Key is set.
	Mode UniqueMode

	// Key is what the jobs have in common, UTF-8 of at most 200 bytes. Defaults to one of
	// the method and the arguments.
	Key string

	// For is the time that the modes UniqueThrottle and UniqueDebounce need, at least 1 ms.
	// With UniqueRefuse it is how long after its submit a job refuses others; it defaults
	// to as long as the job waits or runs.
	For time.Duration
}

// UniqueMode is what becomes of a job whose key another job has.
type UniqueMode int

// The modes of a unique job. A job has its key while it waits or runs, until it is done,
// dead or cancelled.
const (
	_ UniqueMode = iota
	// UniqueRefuse: Submit returns ErrDuplicate and the id of the job that has the key.
	UniqueRefuse
	// UniqueThrottle: Submit enters one job in each time of For, and returns its id to the
	// others, without an error.
	UniqueThrottle
	// UniqueDebounce: the job begins when For has passed without another Submit. It
	// replaces the job that waits for that.
	UniqueDebounce
	// UniqueLast: the job begins when the one that has the key has ended. It replaces
	// another that waits for that. So at most one job of the key runs, and the last one
	// that was submitted is run.
	UniqueLast
)

// modes are the names of the modes in luaSubmit.
var modes = [...]string{"", "refuse", "throttle", "debounce", "last"}

const maxUnique = 200 // bytes of a key

func (u Unique) complete(o SubmitOptions) (Unique, error) {
	if u == (Unique{}) {
		return u, nil
	}
	if u.Mode == 0 && u.Key != "" {
		u.Mode = UniqueRefuse
	}
	switch delayed := o.Delay > 0 || !o.At.IsZero(); {
	case u.Mode <= 0 || int(u.Mode) >= len(modes):
		return u, invalid("SubmitOptions.Unique.Mode: no %d", u.Mode)
	case len(u.Key) > maxUnique || !utf8.ValidString(u.Key):
		return u, invalid("SubmitOptions.Unique.Key: %d bytes, the limit is %d, or not UTF-8", len(u.Key), maxUnique)
	case u.For < 0 || u.For > maxWait || u.For%time.Millisecond != 0:
		return u, invalid("SubmitOptions.Unique.For: %v is negative, more than %v, or has a fraction of a millisecond", u.For, maxWait)
	case u.For == 0 && (u.Mode == UniqueThrottle || u.Mode == UniqueDebounce):
		return u, invalid("SubmitOptions.Unique.For: UniqueThrottle and UniqueDebounce need a time")
	case u.For > 0 && u.Mode == UniqueLast:
		return u, invalid("SubmitOptions.Unique.For: UniqueLast needs none")
	case delayed && u.Mode >= UniqueDebounce:
		return u, invalid("SubmitOptions.Unique: UniqueDebounce and UniqueLast decide when the job begins: Delay or At is set")
	}
	return u, nil
}

// key returns the key of a job.
func (u Unique) key(method string, codec storage.Codec, args []byte) string {
	if u.Mode == 0 || u.Key != "" {
		return u.Key
	}
	sum := sha256.Sum256(append([]byte{byte(codec)}, args...))
	return method + " " + base64.RawURLEncoding.EncodeToString(sum[:18])
}
