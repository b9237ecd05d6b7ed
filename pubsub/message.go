package pubsub

import (
	"errors"
	"fmt"
	"reflect"
	"sync"

	"github.com/heliograph/heliograph/storage"
)

// Message is an item of a subscription: a published value, or an error in its
// place.
type Message[T any] struct {
	// Channel is where the message was published, without the pool's prefix: the
	// topic's name, or for a [Pattern] a name that matches.
	Channel string

	// Value is the published value. Subscriptions of this process to the same topic
	// share what it points to, so it must not be modified.
	Value T

	// Offset is the place of the message in the topic's history. Empty for
	// topics without one.
	Offset Offset

	// Seq is the number of the message among all messages that the client received
	// on all channels, in the order in which Redis sent them. It is 0 for a message
	// that was read from a history.
	Seq int64

	// Err is nil for a value. A [*GapError] says that messages between the previous
	// one and the next may be missing. Any other error belongs to a message that
	// could not be decoded. Value is zero then.
	Err error
}

// ErrGap matches every [*GapError] in errors.Is.
var ErrGap = errors.New("pubsub: messages may be missing")

// GapError is delivered in a subscription where messages may be missing. The
// subscription continues with messages that were published after the gap.
type GapError struct {
	// Dropped is the number of messages that [OverflowDropOldest] dropped. It is 0
	// if the connection was lost: the number of missed messages is then unknown.
	Dropped int

	// Cause is the reason for the gap. It is nil if messages were dropped.
	Cause error
}

func (e *GapError) Error() string {
	switch {
	case e.Cause == nil:
		return fmt.Sprintf("pubsub: %d messages were dropped", e.Dropped)
	case e.Dropped > 0:
		return fmt.Sprintf("%v: %v, and %d were dropped", ErrGap, e.Cause, e.Dropped)
	}
	return fmt.Sprintf("%v: %v", ErrGap, e.Cause)
}

// Is reports whether target is ErrGap.
func (e *GapError) Is(target error) bool { return target == ErrGap }

// Unwrap returns the cause.
func (e *GapError) Unwrap() error { return e.Cause }

// packet is a message as it came from Redis, shared by the queues of its route.
type packet struct {
	channel string    // without the prefixes of the pool and of Redis
	payload []byte    // never modified
	seq     int64     // its number in the client; 0: it was not received
	gap     *GapError // in place of a message
	start   bool      // in place of a message: a subscription with a history begins
	shared  *shared   // nil: it is in one queue only
}

// size is the size of a packet for the limits of a queue, in bytes.
func (p *packet) size() int { return len(p.channel) + len(p.payload) + 64 }

// shared holds the values that a payload was decoded to.
type shared struct {
	mu     sync.Mutex
	values []decoded
}

type decoded struct {
	form  form
	value any // a *T
	err   error
}

// form is what two subscriptions must have in common to share a value.
type form struct {
	typ     reflect.Type
	codec   storage.Codec
	history bool // an offset comes before the value
}

// decode returns the value of a packet, whose body is the payload or a part of
// it. The first caller decodes, and the others wait for it.
func decode[T any](p *packet, body []byte, from Source[T]) (T, error) {
	var v T
	if p.shared == nil {
		err := from.read(body, &v)
		return v, err
	}
	s := from.spec()
	f := form{reflect.TypeFor[T](), s.codec, !s.history.zero()}
	p.shared.mu.Lock()
	defer p.shared.mu.Unlock()
	for _, d := range p.shared.values {
		if d.form == f {
			if d.err != nil {
				return v, d.err
			}
			return *d.value.(*T), nil
		}
	}
	d := decoded{form: f, value: &v, err: from.read(body, &v)}
	p.shared.values = append(p.shared.values, d)
	return v, d.err
}
