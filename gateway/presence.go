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
	name := "gateway:presence:" + h.cfg.ChannelPrefix + channel
	if len(name) > redisio.MaxName { // its hash will do; no other name begins like it
		name = fmt.Sprintf("gateway:presence/%x", sha256.Sum256([]byte(name)))
	}
	return storage.NewPresence[presenceEntry](h.pool, name,
		storage.PresenceOptions{Codec: storage.JSON, Owner: owner, MaxMembers: h.cfg.Limits.Connections})
}

// addPresence records that a connection follows the channel, and returns the entry. If
// the channel has no presence, nothing is recorded.
func (ch *channel) addPresence(ctx context.Context, c *Conn) (presenceEntry, error) {
	a := presenceEntry{c.ID(), c.Principal().Name}
	if ch.presence == nil {
		return a, nil
	}
	_, err := ch.presence.Add(ctx, a)
	return a, err
}

// renamePresence replaces the entry of a follower by one with its current principal.
func (ch *channel) renamePresence(ctx context.Context, f *follower) {
	if ch.presence == nil {
		return
	}
	as, err := ch.addPresence(ctx, f.c)
	if err != nil {
		ch.warnPresence("a client is still listed under its former name", err)
		return
	}
	f.c.mu.Lock()
	before, left := f.presence, f.c.following[ch.name] != f
	f.presence = as
	f.c.mu.Unlock()
	switch {
	case left:
		ch.removePresence(ctx, as)
	case before != as:
		ch.removePresence(ctx, before)
	}
}

// removePresence removes an entry. What Redis does not confirm ends with the lease.
func (ch *channel) removePresence(ctx context.Context, a presenceEntry) {
	if ch.presence == nil {
		return
	}
	if _, err := ch.presence.Remove(ctx, a); err != nil {
		ch.warnPresence("a client that has left is still listed; the next renewal of the lease removes it", err)
	}
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
	all, err := c.h.presence(name, "")
	if err != nil {
		return err
	}
	defer all.Close()
	names := make(map[string]int)
	count := 0
	for present, err := range all.All(ctx) {
		if err != nil {
			return err
		}
		count++
		if present.Member.Name != "" {
			names[present.Member.Name]++
		}
	}
	c.debit(float64(count) / valuesPerCost)
	return c.Reply(r, name, map[string]any{"clients": count, "principals": names})
}
