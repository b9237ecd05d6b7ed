package gateway

import (
	"cmp"
	"context"
	"strconv"

	"github.com/heliograph/heliograph/pubsub"
)

// Subscribe makes the client follow a channel, without asking whether it may. It
// returns once everything published from then on reaches the client. A client that
// follows the channel already goes on.
func (c *Conn) Subscribe(ctx context.Context, channel string) error {
	if err := c.h.checkName(channel); err != nil {
		return err
	}
	if c.member(channel) != nil {
		return nil
	}
	m, err := c.join(ctx, channel)
	if err != nil {
		return err
	}
	return c.goLive(m, floor{})
}

// Unsubscribe ends following a channel, and reports whether the client followed it.
func (c *Conn) Unsubscribe(channel string) bool {
	m := c.member(channel)
	return m != nil && c.leave(m)
}

// leaveAll ends all memberships, within Limits.Command altogether: with Redis
// unreachable, each could take that long.
func (c *Conn) leaveAll() {
	ctx, cancel := context.WithTimeout(context.Background(), c.h.cfg.Limits.Command)
	defer cancel()
	for _, name := range c.Channels() {
		if m := c.member(name); m != nil {
			c.leaveWithin(ctx, m)
		}
	}
}

func (c *Conn) member(channel string) *member {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.members[channel]
}

// leave ends a membership, and reports whether it had not ended before.
func (c *Conn) leave(m *member) bool {
	ctx, cancel := context.WithTimeout(context.Background(), c.h.cfg.Limits.Command)
	defer cancel()
	return c.leaveWithin(ctx, m)
}

// leaveWithin is leave until ctx ends.
func (c *Conn) leaveWithin(ctx context.Context, m *member) bool {
	c.mu.Lock()
	if c.members[m.ch.name] != m {
		c.mu.Unlock()
		return false
	}
	delete(c.members, m.ch.name)
	as := m.presence
	c.mu.Unlock()
	m.ch.removePresence(ctx, as)
	m.ch.remove(m)
	c.h.count.subscriptions.Add(-1)
	return true
}

// join makes the connection a member of a channel. The messages for the member are
// held until goLive.
func (c *Conn) join(ctx context.Context, channel string) (*member, error) {
	c.mu.Lock()
	n := len(c.members)
	c.mu.Unlock()
	if n >= c.h.cfg.Limits.Channels {
		return nil, Errorf(CodeTooMany, "%d channels are followed, which is the limit", n)
	}
	ch, err := c.h.hub.follow(ctx, channel)
	if err != nil {
		return nil, err
	}
	as, err := ch.addPresence(ctx, c)
	if err != nil {
		c.h.hub.release(ch)
		return nil, err
	}
	m := ch.add(c, as)
	c.mu.Lock()
	if c.state != open || c.members[channel] != nil {
		again := c.members[channel] != nil // another goroutine was faster
		c.mu.Unlock()
		if !again {
			ch.removePresence(ctx, as)
		}
		ch.remove(m)
		if again {
			return nil, Errorf(CodeBadCommand, "%s is followed already", quoteName(channel))
		}
		return nil, ErrClosed
	}
	if c.members == nil {
		c.members = make(map[string]*member)
	}
	c.members[channel] = m
	c.mu.Unlock()
	c.h.count.subscriptions.Add(1)
	return m, nil
}

// goLive sends what was held for a member, except what is below the floor. From then
// on messages go to the queue directly.
func (c *Conn) goLive(m *member, below floor) error {
	m.floor.Store(&below)
	for {
		c.mu.Lock()
		held := m.held
		m.held, m.bytes = nil, 0
		switch {
		case m.left:
			c.mu.Unlock()
			return ErrClosed
		case m.over:
			c.mu.Unlock()
			c.leave(m)
			return Errorf(CodeUnavailable, "more was published during the snapshot than the queue holds")
		case len(held) == 0:
			m.live.Store(true)
			c.mu.Unlock()
			c.flush()
			return nil
		}
		if m.lost > 0 && !m.lossQueued { // while they were held
			m.lossQueued = true
			c.addLocked(entry{of: m})
		}
		c.mu.Unlock()
		if n := m.offer(m.entries(nil, m.fresh(held))); n > 0 {
			c.h.count.delivered.Add(int64(n))
		}
	}
}

// sub is the command SUB.
func sub(ctx context.Context, c *Conn, r Request) error {
	name := r.Args[0]
	snapshot, err := r.flag("snapshot")
	if err != nil {
		return err
	}
	ack, err := r.flag("ack")
	if err != nil {
		return err
	}
	since, resume := r.Options["since"]
	if snapshot && resume {
		return Errorf(CodeBadCommand, "snapshot and since exclude each other")
	}
	if resume {
		if _, err := pubsub.ParseOffset(since); err != nil {
			return Errorf(CodeBadCommand, "since: %s is not an offset", quoteName(since))
		}
	}
	as := c.principal.Load()
	if err := c.authorizeSub(ctx, name, snapshot); err != nil {
		return err
	}
	if m := c.member(name); m != nil {
		if !snapshot && !resume {
			if ack {
				c.subscribed(r, name, subscription{})
			}
			return nil
		}
		c.leave(m) // and join anew
	}
	m, err := c.join(ctx, name)
	if err != nil {
		return err
	}
	if c.principal.Load() != as { // SetPrincipal may have looked before the channel was there
		if err := c.authorizeSub(ctx, name, snapshot); err != nil {
			c.leave(m)
			return err
		}
	}
	s, err := c.catchUp(ctx, r, m, snapshot, since, resume)
	if err != nil {
		c.leave(m)
		return err
	}
	if ack || snapshot || resume || m.ch.rule.History != nil {
		c.subscribed(r, name, s)
	}
	for _, missed := range s.missed {
		missed = c.filter(missed)
		if missed == nil {
			continue
		}
		if err := c.reply(entry{data: missed.compiled(c.v)}); err != nil {
			return err
		}
	}
	return c.goLive(m, s.below)
}

// authorizeSub returns an error for a SUB that is not allowed.
func (c *Conn) authorizeSub(ctx context.Context, name string, snapshot bool) error {
	if err := c.authorize(ctx, OpSubscribe, name); err != nil || !snapshot {
		return err
	}
	return c.authorize(ctx, OpGet, name)
}

// subscription is how a SUB begins.
type subscription struct {
	below     floor      // what the client gets in other ways
	missed    []*Message // sent first
	recovered *bool      // nil: the client did not ask
	values    *int       // number of values in the snapshot; nil: there is none
}

// subscribed answers a SUB.
func (c *Conn) subscribed(r Request, name string, s subscription) {
	raw := appendString([]byte(`{"status": "subscribed", "channel": `), name)
	if s.below.head != "" {
		raw = appendString(append(raw, `, "offset": `...), s.below.head)
	}
	if s.recovered != nil {
		raw = strconv.AppendBool(append(raw, `, "recovered": `...), *s.recovered)
	}
	if s.values != nil {
		raw = strconv.AppendInt(append(raw, `, "snapshot": `...), int64(*s.values), 10)
	}
	c.push(entry{data: c.compiledStatus(append(raw, '}'), r.Ref), kept: true})
}

// catchUp finds out what the member missed, and sends a snapshot.
func (c *Conn) catchUp(ctx context.Context, r Request, m *member, snapshot bool, since string, resume bool) (s subscription, err error) {
	name := m.ch.name
	keeps := m.ch.rule.History != nil
	if resume {
		s.recovered = new(false)
	}
	if keeps {
		var missed []Publication
		var complete bool
		missed, s.below.head, complete, err = c.h.source.(Recaller).Recall(ctx, name, since)
		if err != nil {
			return s, err
		}
		if resume {
			*s.recovered = complete
		}
		size := 0
		for _, p := range missed {
			size += len(p.Data)
			if msg := m.ch.message(p); msg != nil {
				s.missed = append(s.missed, msg)
			}
		}
		c.debit(float64(len(missed))/valuesPerCost + sizeCost(size, readPerCost))
	}
	if snapshot {
		var fields []string
		if fields, s.below.seq, err = c.snapshot(ctx, name); err != nil {
			return s, err
		}
		s.values = new(0)
		if *s.values, err = c.sendValues(ctx, r, name, fields, nil); err != nil {
			return s, err
		}
		if keeps {
			s.below.head, err = c.offsetAt(ctx, m, s.below)
		}
	}
	return s, err
}

// offsetAt returns the offset of the last message before a snapshot. f has the number
// of that message and an older offset; the messages after f are being held, with their
// offsets and numbers.
func (c *Conn) offsetAt(ctx context.Context, m *member, f floor) (string, error) {
	_, now, _, err := c.h.source.(Recaller).Recall(ctx, m.ch.name, "")
	if err != nil {
		return "", err
	}
	for came := f.head; now != f.head && !covers(came, now); {
		at := ""
		c.mu.Lock()
		for _, held := range m.held {
			came = cmp.Or(held.Offset, came)
			if held.seq <= f.seq && held.Offset != "" {
				at = held.Offset
			}
		}
		over := m.over || m.left
		changed := make(chan struct{})
		m.changed = changed
		c.mu.Unlock()
		if at != "" && covers(came, now) {
			return at, nil
		}
		if over {
			break // goLive returns the error
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-changed:
		}
	}
	return f.head, nil
}

// del is the command DEL.
func del(_ context.Context, c *Conn, r Request) error {
	if err := c.h.checkName(r.Args[0]); err != nil {
		return err
	}
	c.Unsubscribe(r.Args[0])
	return nil
}

// publish is the command PUB.
func publish(ctx context.Context, c *Conn, r Request) error {
	name, data := r.Args[0], r.Args[1]
	if err := c.authorize(ctx, OpPublish, name); err != nil {
		return err
	}
	body, _ := content([]byte(data))
	n, err := c.h.source.(Publisher).Publish(ctx, name, body)
	if err != nil {
		return err
	}
	c.status(map[string]any{"status": "published", "channel": name, "receivers": n}, r.Ref)
	return nil
}
