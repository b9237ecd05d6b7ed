package gateway

import (
	"context"
	"crypto/sha256"
	"fmt"

	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/storage"
)

// presenceEntry is a connection on a channel that keeps who follows it.
type presenceEntry struct {
	Conn string `json:"conn"` // unique in its handler
	Name string `json:"name"` // of its principal
}

// attendance returns who follows a channel, in all processes, to be kept as owner.
// What an owner keeps ends with it, so each has a name of its own.
func (h *Handler) presence(channel, owner string) (*storage.Presence[presenceEntry], error) {
	if err := checkChannel(channel); err != nil {
		return nil, err
	}
	name := "gateway:presence:" + h.cfg.ChannelPrefix + channel
	if len(name) > redisio.MaxName { // a hash will do; no other name begins like it
		name = fmt.Sprintf("gateway:presence/%x", sha256.Sum256([]byte(name)))
	}
	return storage.NewPresence[presenceEntry](h.pool, name,
		storage.PresenceOptions{Codec: storage.JSON, Owner: owner, MaxMembers: h.cfg.Limits.Connections})
}

// attend notes that a connection follows the channel, where that is kept, and
// under which name.
func (ch *channel) addPresence(ctx context.Context, c *Conn) (presenceEntry, error) {
	a := presenceEntry{c.ID(), c.Principal().Name}
	if ch.presence == nil {
		return a, nil
	}
	_, err := ch.presence.Add(ctx, a)
	return a, err
}

// rename has who follows the channel do so under the name that he has now.
func (ch *channel) renamePresence(ctx context.Context, m *member) {
	if ch.presence == nil {
		return
	}
	as, err := ch.addPresence(ctx, m.c)
	if err != nil {
		ch.warnPresence("a client is still listed under its former name", err)
		return
	}
	m.c.mu.Lock()
	before, left := m.presence, m.c.members[ch.name] != m
	m.presence = as
	m.c.mu.Unlock()
	switch {
	case left:
		ch.removePresence(ctx, as)
	case before != as:
		ch.removePresence(ctx, before)
	}
}

// depart takes back that somebody is there. What can't be taken back ends with the lease.
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
		return Errorf(CodeForbidden, "who follows %s is not kept", quoteName(name))
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
