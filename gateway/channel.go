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

// Op is an operation that a client asks for.
type Op string

const (
	OpGet       Op = "get"       // read a hash, also by SUB snapshot=1
	OpSubscribe Op = "subscribe" // follow a channel
	OpPublish   Op = "publish"   // publish to a channel
	OpPresence  Op = "presence"  // see who follows a channel
)

// Slow says what happens to a client that reads too slowly: one that has not been sent a
// message of the channel when that leaves the log, by Limits.LogBytes or LogMessages.
type Slow uint8

const (
	// SlowDisconnect closes the connection with 4008. A client that reconnects and reads
	// the state anew has lost nothing.
	SlowDisconnect Slow = iota
	// SlowDropOldest goes on with the oldest message of the log, after a status lost with
	// the number of messages that were dropped.
	SlowDropOldest
	// SlowConflate keeps in the log only the newest message of each Channel.Key, so that a
	// client gets that one alone of those that it has not been sent. It is for positions,
	// of which only the newest counts. If there are more keys than the log holds, the
	// client is treated as by SlowDropOldest.
	SlowConflate

	slowCount // the number of policies
)

// Channel describes the channels whose names match a pattern.
type Channel struct {
	// Pattern is a glob: * matches any run of characters, ? one character, [a-c] one of
	// these.
	Pattern string

	// Slow is the policy for clients that read too slowly. Defaults to SlowDisconnect.
	Slow Slow

	// Key returns what a message is about, for SlowConflate, such as an id. It is called
	// once for each message, before the filters of connections. Without Key a newer
	// message replaces any other of its channel.
	Key func(content []byte) string

	// History lets clients resume with SUB channel since=offset. Publishers must use
	// [pubsub.Topic.WithHistory] with the same value. Without History, messages that a
	// client has missed are lost.
	History *pubsub.History

	// Rewind is how many of the last messages a client may ask for with SUB channel
	// rewind=N: at most Limits.LogMessages. The log has those that came while the channel
	// was followed. Defaults to 0: none.
	Rewind int

	// Presence records which clients follow the channel, for the command WHO.
	Presence bool

	// Joins is what the names begin with, and makes the messages of such a channel those
	// who join and leave the channel that is named by the rest of its name. That one must
	// have Presence. With Joins "joins:" and Pattern "joins:room.*", SUB joins:room.1
	// follows who comes to room.1 and goes. The clients of a process that has died leave
	// within 30 seconds. Channels must be the same in all processes. Defaults to none.
	Joins string
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
	switch {
	case !strings.HasPrefix(ch.Pattern, ch.Joins) || strings.ContainsAny(ch.Joins, `*?[\`):
		return ch, fmt.Errorf("Channel.Joins: the pattern %q does not begin with %q", ch.Pattern, ch.Joins)
	case ch.Joins != "" && (ch.Presence || ch.History != nil):
		return ch, errors.New("Channel.Joins, Presence, History: a channel with Joins has no other")
	}
	if ch.Rewind < 0 {
		return ch, fmt.Errorf("Channel.Rewind: %d is negative", ch.Rewind)
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

// rule returns the Channel of a name; nil: no pattern matches.
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

// anyChannel is the Channel of all names where Config.Channels is empty.
var anyChannel Channel

// allowed reports whether a connection may do op with a name.
func (c *Conn) allowed(ctx context.Context, op Op, name string) bool {
	h := c.h
	if op == OpPublish && !h.cfg.ClientPublish {
		return false
	}
	var matched bool
	switch {
	case len(h.cfg.Channels) == 0 && len(h.cfg.Keys) == 0: // Allow decides alone
		matched = h.cfg.Allow != nil && reaches(h.cfg.prefix(op), "", name)
	case op == OpGet:
		matched = slices.ContainsFunc(h.cfg.Keys, func(glob string) bool {
			return matches(glob, name) && reaches(h.cfg.KeyPrefix, glob, name)
		})
	default:
		matched = slices.ContainsFunc(h.cfg.Channels, func(ch Channel) bool {
			return matches(ch.Pattern, name) && reaches(h.cfg.ChannelPrefix, ch.Pattern, name)
		})
	}
	return matched && (h.cfg.Allow == nil || h.cfg.Allow(ctx, c, op, name))
}

// authorize returns an error for an op that is not allowed.
func (c *Conn) authorize(ctx context.Context, op Op, name string) error {
	if err := c.h.checkName(name); err != nil {
		return err
	}
	if !c.allowed(ctx, op, name) {
		return Errorf(CodeForbidden, "%s %s is not allowed", op, quoteName(name))
	}
	return nil
}

// checkName refuses names that no client may use, whatever is allowed.
func (h *Handler) checkName(name string) error {
	switch {
	case name == "":
		return Errorf(CodeBadName, "the name is empty")
	case len(name) > h.cfg.Limits.Name:
		return Errorf(CodeBadName, "the name has %d bytes; %d are allowed", len(name), h.cfg.Limits.Name)
	case !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return Errorf(CodeBadName, "the name contains control characters")
	case strings.HasPrefix(name, "__"):
		return Errorf(CodeBadName, "names that begin with __ are not for clients")
	}
	return nil
}

// checkChannel refuses names that can't be channels in Redis.
func checkChannel(name string) error {
	if err := redisio.CheckName(name); err != nil {
		return Errorf(CodeBadName, "%v", err)
	}
	return nil
}

// quoteName returns a name for use in the text of an error.
func quoteName(name string) string {
	if len(name) > 80 {
		name = name[:80] + "…"
	}
	return strings.ToValidUTF8(name, "?")
}
