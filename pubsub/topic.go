package pubsub

import (
	"errors"
	"fmt"
	"strings"

	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/storage"
)

// Source can be subscribed to. It is a [Topic], a [Pattern] or [KeyEvents].
type Source[T any] interface {
	String() string
	spec() spec
	read(payload []byte, into *T) error
}

// spec is the untyped part of a source.
type spec struct {
	kind    kind
	name    string // without the pool's prefix
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
	kinds             // number of kinds
)

// placed reports whether a cluster serves the kind only at certain servers.
func (k kind) placed() bool { return k >= shard }

// Topic is a channel and the type of the values published on it. Publishers and
// subscribers share a variable:
//
//	var Positions = pubsub.NewTopic[Position]("positions")
type Topic[T any] struct {
	s     spec
	keyOf func(T) string
}

// NewTopic returns the topic with a name. Its channel is the pool's prefix and the name.
// It panics if the name is not valid: UTF-8 of 1 to 255 bytes without spaces, control
// characters and any of * ? [ ] \ { }.
func NewTopic[T any](name string) Topic[T] {
	t, err := ParseTopic[T](name)
	if err != nil {
		panic(err)
	}
	return t
}

// ParseTopic is [NewTopic] for names from outside: it returns an error instead of a
// panic. ParseTopic[[]byte](name) with codec [storage.Raw] reads the bytes of any
// channel.
func ParseTopic[T any](name string) (Topic[T], error) {
	if err := redisio.CheckName(name); err != nil {
		return Topic[T]{}, fmt.Errorf("pubsub: topic: %w", err)
	}
	return Topic[T]{s: spec{kind: exact, name: name}}, nil
}

// String returns the topic's name.
func (t Topic[T]) String() string { return t.s.name }

// WithCodec returns a copy that encodes values with codec instead of
// [storage.MsgPack]. Messages don't name their codec: both sides must use the same.
func (t Topic[T]) WithCodec(codec storage.Codec) Topic[T] {
	t.s.codec = checkCodec(t.s.name, codec)
	return t
}

// Sharded returns a copy whose messages stay in the shard of its channel on a cluster
// (SPUBLISH, SSUBSCRIBE), instead of going to every server. It needs Redis 7. A
// sharded topic and a plain topic of the same name are different channels.
func (t Topic[T]) Sharded() Topic[T] {
	t.s.kind = shard
	return t
}

// WithHistory returns a copy whose last messages are kept in Redis, so that a
// subscription can continue where an earlier one ended: see [History]. Both sides must
// use a history.
func (t Topic[T]) WithHistory(h History) Topic[T] {
	h, err := h.complete()
	if err != nil {
		panic(fmt.Errorf("pubsub: topic %s: %w", t.s.name, err))
	}
	t.s.history = h
	return t
}

// WithKey returns a copy with a key function for [OverflowConflate]: a message replaces
// an older one with the same key. Key runs on the goroutine that reads from Redis, so
// it must be fast.
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

// Pattern is all topics whose names match a glob, with one type of values. It can't read
// topics with a history: their messages have the error [ErrHistoryMismatch].
type Pattern[T any] struct{ s spec }

// NewPattern returns the pattern for a glob, in which * is any run of
// characters, ? is one, [a-c] is one of these and \ makes the next one literal.
// PSUBSCRIBE gets the pool's prefix and the glob. NewPattern panics if the other
// characters are not allowed in a name.
//
// Redis compares every published message with all patterns of all clients: a thousand
// topics cost less than a thousand patterns.
func NewPattern[T any](pattern string) Pattern[T] {
	p, err := ParsePattern[T](pattern)
	if err != nil {
		panic(err)
	}
	return p
}

// ParsePattern is [NewPattern] for globs from outside: it returns an error instead of a
// panic.
func ParsePattern[T any](pattern string) (Pattern[T], error) {
	if err := checkGlob(pattern); err != nil {
		return Pattern[T]{}, fmt.Errorf("pubsub: pattern: %w", err)
	}
	return Pattern[T]{spec{kind: glob, name: pattern}}, nil
}

// String returns the glob.
func (p Pattern[T]) String() string { return p.s.name }

// WithCodec returns a copy that decodes values with codec instead of
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

// KeyEvents are Redis's keyspace notifications for a key, or for the keys that match a
// glob: changes of these keys by any client. The message's Channel is the key without
// the pool's prefix, and its Value is the event, such as "set", "hset", "del" or
// "expired".
//
// On a cluster each server notifies of its own keys only. Events of one key are
// subscribed to at the server that has it, those of a glob at every primary, also at
// one that joins later.
//
// The server sends events only if its notify-keyspace-events has K and the classes of
// the events; this package does not change that setting. An event does not carry the
// value, and the value may have changed again when the event is read.
type KeyEvents struct{ s spec }

// NewKeyEvents returns the events of a key, or of the keys that match a glob; the pool's
// prefix is put before either. It panics on spaces and control characters.
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

// checkGlob accepts a name that may contain * ? [ ] \.
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
