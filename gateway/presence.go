package gateway

import (
	"context"

	"github.com/heliograph/heliograph/storage"
)

// attendee is a connection on a channel that keeps who follows it.
type attendee struct {
	Conn string `json:"conn"` // unique in its process
	Name string `json:"name"` // of its principal
}

// attendance returns who follows a channel, in all processes.
func (h *Handler) attendance(channel string) (*storage.Presence[attendee], error) {
	return storage.NewPresence[attendee](h.pool, "gateway:presence:"+h.cfg.ChannelPrefix+channel,
		storage.PresenceOptions{Codec: storage.JSON, Owner: h.id, MaxMembers: h.cfg.Limits.Connections})
}

// attend notes that a connection follows the channel, where that is kept, and
// under which name.
func (ch *channel) attend(ctx context.Context, c *Conn) (attendee, error) {
	a := attendee{c.ID(), c.Principal().Name}
	if ch.presence == nil {
		return a, nil
	}
	_, err := ch.presence.Add(ctx, a)
	return a, err
}

// depart takes that back. What can't be taken back ends with the lease.
func (ch *channel) depart(ctx context.Context, a attendee) {
	if ch.presence == nil {
		return
	}
	if _, err := ch.presence.Remove(ctx, a); err != nil {
		ch.hub.h.warn("gateway: presence", "channel", ch.name, "error", err)
	}
}

// who is the command WHO.
func who(ctx context.Context, c *Conn, r Request) error {
	name := r.Args[0]
	if err := c.admit(ctx, OpPresence, name); err != nil {
		return err
	}
	rule := c.h.rule(name)
	if rule == nil || !rule.Presence {
		return Errorf(CodeForbidden, "who follows %s is not kept", quoteName(name))
	}
	all, err := c.h.attendance(name)
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
	c.owe(float64(count) / valuesPerCost)
	return c.Reply(r, name, map[string]any{"clients": count, "principals": names})
}
