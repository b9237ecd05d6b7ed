package pubsub

import (
	"errors"
	"fmt"
	"strings"

	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/storage"
)

// Source is what can be subscribed to: a [Topic], a [Pattern] or [KeyEvents].
type Source[T any] interface {
	String() string
	spec() spec
	read(payload []byte, into *T) error
}

// spec is the untyped part of a source.
type spec struct {
	kind    kind
	name    string // as the user has it
	codec   storage.Codec
	history History
	keyed   bool // has a key to conflate by
}

// kind is how a name is subscribed to, and where.
type kind uint8

const (
	exact kind = iota // SUBSCRIBE, at any server
	glob              // PSUBSCRIBE, at any server
	shard             // SSUBSCRIBE, at the server of the channel's slot
	key               // SUBSCRIBE for the events of a key, at the server of its slot
	keys              // PSUBSCRIBE for the events of keys, at every primary
	kinds             // how many there are
)

// placed reports whether on a cluster it matters which server is asked.
func (k kind) placed() bool { return k >= shard }

// Topic is a channel and the type of what is published on it. Both sides share
// the value:
//
//	var Positions = pubsub.NewTopic[Position]("positions")
type Topic[T any] struct {
	s     spec
	keyOf func(T) string
}

// NewTopic returns the topic of that name, which is the channel behind the
// pool's prefix. It panics on a name that [redisio.CheckName] refuses.
func NewTopic[T any](name string) Topic[T] {
	t, err := ParseTopic[T](name)
	if err != nil {
		panic(err)
	}
	return t
}

// ParseTopic is [NewTopic] for names that come from outside: a bad one is an
// error. ParseTopic[[]byte](name) with [storage.Raw] is any channel at all.
func ParseTopic[T any](name string) (Topic[T], error) {
	if err := redisio.CheckName(name); err != nil {
		return Topic[T]{}, fmt.Errorf("pubsub: topic: %w", err)
	}
	return Topic[T]{s: spec{kind: exact, name: name}}, nil
}

// String returns the topic's name.
func (t Topic[T]) String() string { return t.s.name }

// WithCodec returns a copy whose values travel in another codec than
// [storage.MsgPack]. Nothing on the wire names the codec: both sides must agree.
func (t Topic[T]) WithCodec(codec storage.Codec) Topic[T] {
	t.s.codec = checkCodec(t.s.name, codec)
	return t
}

// Sharded returns a copy that on a cluster keeps to the shard of its channel
// (SPUBLISH, SSUBSCRIBE), instead of being told to every server. It needs Redis
// 7. Sharded and other topics of one name don't hear each other.
func (t Topic[T]) Sharded() Topic[T] {
	t.s.kind = shard
	return t
}

// WithHistory returns a copy whose last messages are kept in Redis, so that a
// subscription can go back to where it was: see [History]. Both sides must agree.
func (t Topic[T]) WithHistory(h History) Topic[T] {
	h, err := h.complete()
	if err != nil {
		panic(fmt.Errorf("pubsub: topic %s: %w", t.s.name, err))
	}
	t.s.history = h
	return t
}

// WithKey returns a copy that tells the policy [OverflowConflate] which messages are
// about the same thing. Key runs on the goroutine that reads from Redis.
func (t Topic[T]) WithKey(key func(T) string) Topic[T] {
	t.s.keyed, t.keyOf = key != nil, key
	return t
}

func (t Topic[T]) spec() spec { return t.s }

func (t Topic[T]) read(payload []byte, into *T) error {
	if t.s.history.zero() && hasOffset(payload) {
		return fmt.Errorf("%w: topic %s is subscribed to without a history, and this message was published with one", ErrHistoryMismatch, t.s.name)
	}
	return t.s.codec.Unmarshal(payload, into)
}

// Pattern is many topics of one type: those whose names match a glob.
type Pattern[T any] struct{ s spec }

// NewPattern returns the pattern for a glob, in which * is any run of
// characters, ? is one, [a-c] is one of these and \ takes the next as it is.
// Behind the pool's prefix it is what PSUBSCRIBE gets. It panics if what is not
// glob is not allowed in a name.
//
// Redis walks all patterns of all clients for every PUBLISH: a thousand topics
// cost less than a thousand patterns.
func NewPattern[T any](pattern string) Pattern[T] {
	p, err := ParsePattern[T](pattern)
	if err != nil {
		panic(err)
	}
	return p
}

// ParsePattern is [NewPattern] for globs that come from outside: a bad one is an
// error.
func ParsePattern[T any](pattern string) (Pattern[T], error) {
	if err := checkGlob(pattern); err != nil {
		return Pattern[T]{}, fmt.Errorf("pubsub: pattern: %w", err)
	}
	return Pattern[T]{spec{kind: glob, name: pattern}}, nil
}

// String returns the glob.
func (p Pattern[T]) String() string { return p.s.name }

// WithCodec returns a copy whose values travel in another codec than
// [storage.MsgPack].
func (p Pattern[T]) WithCodec(codec storage.Codec) Pattern[T] {
	p.s.codec = checkCodec(p.s.name, codec)
	return p
}

func (p Pattern[T]) spec() spec { return p.s }
func (p Pattern[T]) read(payload []byte, into *T) error {
	if hasOffset(payload) {
		return fmt.Errorf("%w: pattern %s has no history, and this message was published with one", ErrHistoryMismatch, p.s.name)
	}
	return p.s.codec.Unmarshal(payload, into)
}

// KeyEvents are the keyspace notifications of Redis for a key, or for the keys
// that match a glob: what happens to them, whoever does it. The message's
// Channel is the key without the pool's prefix, its Value the event, such as
// "set", "hset", "del" or "expired".
//
// On a cluster each server tells of its own keys only: events of one key are
// asked for at the server that has it, those of a glob at every primary, also
// one that joins later.
//
// The server sends none unless its notify-keyspace-events holds K and the
// classes of the events; nothing here changes that. An event does not carry the
// value, and two of them may be told before the first is read.
type KeyEvents struct{ s spec }

// NewKeyEvents returns the events of a key, or of those that match a glob, behind
// the pool's prefix. It panics on spaces and control characters.
func NewKeyEvents(keyOrGlob string) KeyEvents {
	k := key
	if strings.ContainsAny(keyOrGlob, `*?[\`) {
		k = keys
	}
	if err := checkGlob(strings.NewReplacer("{", "", "}", "").Replace(keyOrGlob)); err != nil {
		panic(fmt.Errorf("pubsub: key events: %w", err))
	}
	return KeyEvents{spec{kind: k, name: keyOrGlob, codec: storage.Text}}
}

// String returns the key or glob.
func (e KeyEvents) String() string { return e.s.name }

func (e KeyEvents) spec() spec { return e.s }

func (e KeyEvents) read(payload []byte, into *string) error {
	*into = string(payload)
	return nil
}

func checkCodec(name string, codec storage.Codec) storage.Codec {
	if !codec.Valid() {
		panic(fmt.Errorf("pubsub: %s: unknown %v", name, codec))
	}
	return codec
}

// checkGlob accepts a name in which * ? [ ] \ may stand.
func checkGlob(pattern string) error {
	if pattern == "" {
		return errors.New("empty name")
	}
	plain := strings.NewReplacer("*", "", "?", "", "[", "", "]", "", `\`, "").Replace(pattern)
	if plain == "" {
		return nil
	}
	return redisio.CheckName(plain)
}
