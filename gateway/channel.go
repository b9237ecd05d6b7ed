package gateway

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/pubsub"
)

// Op is what a client wants to do with a name.
type Op string

// The operations.
const (
	OpGet       Op = "get"       // read a hash, also by SUB snapshot=1
	OpSubscribe Op = "subscribe" // follow a channel
	OpPublish   Op = "publish"   // publish to a channel
	OpPresence  Op = "presence"  // see who follows a channel
)

// Slow says what becomes of messages for a client who does not take them as fast
// as they come, once Limits.QueueBytes or QueueMessages wait for him.
type Slow uint8

const (
	// SlowDisconnect ends the connection, with close code 4008: who comes back and
	// reads the state again has lost nothing.
	SlowDisconnect Slow = iota
	// SlowDropOldest drops the oldest, and says how many with a status lost.
	SlowDropOldest
	// SlowConflate has a message replace one of the same Channel.Key that still waits,
	// full or not: for positions, of which only the newest counts. A queue that is
	// full all the same is one of SlowDropOldest.
	SlowConflate

	slowCount // how many there are
)

// Channel is a kind of channels.
type Channel struct {
	// Pattern is a glob of the names, in which * is any run of characters, ? is one
	// and [a-c] is one of these.
	Pattern string

	// Slow is what becomes of messages for slow clients. The zero Slow is SlowDisconnect.
	Slow Slow

	// Key returns what a message is about, for Conflate. Nil: a newer message
	// replaces any other of its channel.
	Key func(content []byte) string

	// History has clients go on where they were: SUB channel since=offset. Those
	// who publish must keep it, with [pubsub.Topic.WithHistory] and the same value.
	// Nil: what is missed is missed.
	History *pubsub.History

	// Presence keeps who follows the channel, for the command WHO.
	Presence bool
}

func (ch Channel) complete() (Channel, error) {
	if err := checkGlob(ch.Pattern); err != nil {
		return ch, fmt.Errorf("Channel.Pattern: %w", err)
	}
	if ch.Slow >= slowCount {
		return ch, fmt.Errorf("Channel.Slow: there is no %d", ch.Slow)
	}
	if h := ch.History; h != nil && (h.Size < 0 || h.TTL < 0) {
		return ch, fmt.Errorf("Channel.History: %+v is negative", *h)
	}
	return ch, nil
}

func checkGlob(glob string) error {
	if glob == "" {
		return errors.New("empty")
	}
	if _, err := path.Match(glob, ""); err != nil {
		return fmt.Errorf("%q is not a glob", glob)
	}
	return nil
}

// matches reports whether a glob matches a name. A * matches / as well, which
// path.Match keeps for itself.
func matches(glob, name string) bool {
	ok, err := path.Match(strings.ReplaceAll(glob, "/", "\x00"), strings.ReplaceAll(name, "/", "\x00"))
	return ok && err == nil
}

// rule returns the kind of a channel; nil: no pattern matches.
func (h *Handler) rule(name string) *Channel {
	for i := range h.cfg.Channels {
		if matches(h.cfg.Channels[i].Pattern, name) {
			return &h.cfg.Channels[i]
		}
	}
	if len(h.cfg.Channels) == 0 {
		return &anyChannel
	}
	return nil
}

// anyChannel is what all channels are of where Config.Channels is empty.
var anyChannel Channel

// allowed reports whether a connection may do op with a name. What is not said to
// be allowed is not.
func (c *Conn) allowed(ctx context.Context, op Op, name string) bool {
	h := c.h
	var declared, matched bool
	if op == OpGet {
		declared = len(h.cfg.Keys) > 0
		matched = slices.ContainsFunc(h.cfg.Keys, func(glob string) bool { return matches(glob, name) })
	} else {
		declared = len(h.cfg.Channels) > 0
		matched = declared && h.rule(name) != nil
		if op == OpPublish && !h.cfg.ClientPublish {
			return false
		}
	}
	if h.cfg.Allow == nil || declared && !matched {
		return matched
	}
	return h.cfg.Allow(ctx, c, op, name)
}

// admit returns the error of an op that is refused.
func (c *Conn) authorize(ctx context.Context, op Op, name string) error {
	if err := c.h.checkName(name); err != nil {
		return err
	}
	if !c.allowed(ctx, op, name) {
		return Errorf(CodeForbidden, "%s %s is not allowed", op, quoteName(name))
	}
	return nil
}

// checkName refuses names that are no one's, whatever is allowed.
func (h *Handler) checkName(name string) error {
	switch {
	case name == "":
		return Errorf(CodeBadName, "an empty name")
	case len(name) > h.cfg.Limits.Name:
		return Errorf(CodeBadName, "a name of %d bytes; %d are allowed", len(name), h.cfg.Limits.Name)
	case !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return Errorf(CodeBadName, "a name with control characters")
	case strings.HasPrefix(name, "__"):
		return Errorf(CodeBadName, "names that begin with __ are not for clients")
	}
	return nil
}

// checkChannel refuses names that can't be those of a channel in Redis.
func checkChannel(name string) error {
	if err := redisio.CheckName(name); err != nil {
		return Errorf(CodeBadName, "%v", err)
	}
	return nil
}

// quoteName returns a name as it may stand in a message.
func quoteName(name string) string {
	if len(name) > 80 {
		name = name[:80] + "…"
	}
	return strings.ToValidUTF8(name, "?")
}
