package gateway

import (
	"context"
	"crypto/sha256"
	"fmt"

	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/storage"
)

// presenceEntry is one connection that follows a channel.
type presenceEntry struct {
	Conn string `json:"conn"` // Conn.ID
	Name string `json:"name"` // Principal.Name
}

// presence returns the presence of a channel, for an owner. Its entries end with the
// owner: each channel and each WHO has one of its own.
func (h *Handler) presence(channel, owner string) (*storage.Presence[presenceEntry], error) {
	if err := checkChannel(channel); err != nil {
		return nil, err
	}
	return storage.NewPresence[presenceEntry](h.pool, shorten("gateway:presence", h.cfg.ChannelPrefix+channel, redisio.MaxName),
		storage.PresenceOptions{Codec: storage.JSON, Owner: owner, MaxMembers: h.cfg.Limits.Connections})
}

// shorten returns the name of something of a channel, with a hash in place of a channel's
// name that makes it too long.
func shorten(kind, channel string, max int) string {
	if name := kind + ":" + channel; len(name) <= max {
		return name
	}
	return fmt.Sprintf("%s/%x", kind, sha256.Sum256([]byte(kind+":"+channel))) // no other name begins like it
}

// addPresence records that a connection follows the channel, and returns the entry. If
// the channel has no presence, there is none.
func (ch *channel) addPresence(ctx context.Context, c *Conn) (presenceEntry, error) {
	if ch.presence == nil {
		return presenceEntry{}, nil
	}
	a := presenceEntry{c.ID(), c.Principal().Name}
	_, err := ch.presence.Add(ctx, a)
	if err == nil {
		ch.announce(ctx, a, false)
	}
	return a, err
}

// renamePresence replaces the entry of a follower by one with its current principal.
func (ch *channel) renamePresence(ctx context.Context, f *follower) {
	if ch.presence == nil {
		return
	}
	as := presenceEntry{f.c.ID(), f.c.Principal().Name}
	if _, err := ch.presence.Add(ctx, as); err != nil {
		ch.warnPresence("a client is still listed under its former name", err)
		return
	}
	f.c.mu.Lock()
	before, left := f.presence, f.c.following.get(ch.name) != f
	f.presence = as
	f.c.mu.Unlock()
	switch {
	case left:
		ch.removePresence(ctx, as)
	case before != as:
		ch.removePresence(ctx, before) // it leaves under one name, and joins under another
		ch.announce(ctx, as, false)
	}
}

// removePresence removes an entry. What Redis does not confirm ends with the lease.
func (ch *channel) removePresence(ctx context.Context, a presenceEntry) {
	if ch.presence == nil {
		return
	}
	if _, err := ch.presence.Remove(ctx, a); err != nil {
		ch.warnPresence("a client that has left is still listed; the next renewal of the lease removes it", err)
		return
	}
	ch.announce(ctx, a, true)
}

func (ch *channel) warnPresence(what string, err error) {
	ch.hub.h.warned.presence.Warn(ch.hub.h.log, "gateway: presence: "+what, "channel", ch.name, "error", err)
}

// who is the command WHO.
func who(ctx context.Context, c *Conn, r Request) error {
	name := r.Args[0]
	if err := c.authorize(ctx, OpPresence, name); err != nil {
		return err
	}
	rule := c.h.rule(name)
	if rule == nil || !rule.Presence {
		return Errorf(CodeForbidden, "%s has no presence", quoteName(name))
	}
	list, err := r.flag("list")
	if err != nil {
		return err
	}
	all, err := c.h.presence(name, "")
	if err != nil {
		return err
	}
	defer all.Close()
	names, members := make(map[string]int), make(map[string]string)
	count := 0
	for present, err := range all.All(ctx) {
		if err != nil {
			return err
		}
		count++
		who := c.h.presentOf(present)
		if who.Name != "" {
			names[who.Name]++
		}
		if list {
			members[who.Client] = who.Name
		}
		if limit := c.h.cfg.Limits.Fields; len(members) > limit {
			c.debit(float64(count) / valuesPerCost)
			return Errorf(CodeTooLarge, "more than %d clients follow %s", limit, quoteName(name))
		}
	}
	c.debit(float64(count) / valuesPerCost)
	answer := map[string]any{"clients": count, "principals": names}
	if list {
		answer["members"] = members
	}
	return c.Reply(r, name, answer)
}
