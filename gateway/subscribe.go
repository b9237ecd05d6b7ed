package gateway

import (
	"context"
	"errors"
	"strconv"

	"github.com/heliograph/heliograph/pubsub"
)

// Subscribe makes the client follow a channel, without asking whether it may. It
// returns once everything published from then on reaches the client. A client that
// follows the channel already goes on.
func (c *Conn) Subscribe(ctx context.Context, channel string) error {
	return c.subscribe(ctx, channel, false)
}

// subscribe is Subscribe, and tells the client if it has not followed the channel before.
func (c *Conn) subscribe(ctx context.Context, channel string, tell bool) error {
	if err := c.h.checkName(channel); err != nil {
		return err
	}
	if c.follower(channel) != nil {
		return nil
	}
	f, err := c.join(ctx, channel)
	if err != nil {
		return err
	}
	e := entry{live: f, kept: true}
	if tell {
		e.data = c.subscribed(Request{}, channel, subscription{})
	}
	c.push(e)
	return nil
}

// Unsubscribe ends following a channel, and reports whether the client followed it.
func (c *Conn) Unsubscribe(channel string) bool {
	f := c.follower(channel)
	return f != nil && c.leave(f)
}

// withdraw ends following a channel that the client may no longer follow, and tells it.
func (c *Conn) withdraw(ctx context.Context, channel string) bool {
	f := c.follower(channel)
	if f == nil || !c.leaveWithin(ctx, f) {
		return false
	}
	c.status(map[string]any{"status": "unsubscribed", "channel": channel}, nil)
	return true
}

// leaveAll leaves all channels, within Limits.Command altogether: with Redis unreachable,
// each could take that long.
func (c *Conn) leaveAll() {
	ctx, cancel := context.WithTimeout(context.Background(), c.h.cfg.Limits.Command)
	defer cancel()
	for _, name := range c.Channels() {
		if f := c.follower(name); f != nil {
			c.leaveWithin(ctx, f)
		}
	}
}

func (c *Conn) follower(channel string) *follower {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.following.get(channel)
}

// leave removes a follower, and reports whether nothing has removed it before.
func (c *Conn) leave(f *follower) bool {
	ctx, cancel := context.WithTimeout(context.Background(), c.h.cfg.Limits.Command)
	defer cancel()
	return c.leaveWithin(ctx, f)
}

// leaveWithin is leave until ctx ends.
func (c *Conn) leaveWithin(ctx context.Context, f *follower) bool {
	c.mu.Lock()
	if !c.following.remove(f) {
		c.mu.Unlock()
		return false
	}
	as := f.presence
	c.mu.Unlock()
	f.ch.removePresence(ctx, as)
	f.ch.remove(f)
	c.h.count.subscriptions.Add(-1)
	return true
}

// errFollowed is returned for a channel that the connection follows already.
var errFollowed = errors.New("gateway: followed already")

// roomLocked returns an error if no further channel may be followed. The lock is held.
func (c *Conn) roomLocked() error {
	if n := c.following.len(); n >= c.h.cfg.Limits.Channels {
		return Errorf(CodeTooMany, "%d channels are followed, which is the limit", n)
	}
	return nil
}

// join makes the connection a follower of a channel, from the end of its log on. If the
// subscription of the channel ends meanwhile, it begins anew. Nothing is sent before the
// follower is live.
func (c *Conn) join(ctx context.Context, channel string) (*follower, error) {
	c.mu.Lock()
	err := c.roomLocked() // Redis is not asked in vain
	c.mu.Unlock()
	if err != nil {
		return nil, err
	}
	for {
		ch, err := c.h.hub.follow(ctx, channel)
		if err != nil {
			return nil, err
		}
		as, err := ch.addPresence(ctx, c)
		if err == nil {
			var f *follower
			if f, err = ch.add(c, as); err == nil {
				return f, nil
			}
			if err != errFollowed { // or the entry is that of the other follower
				ch.removePresence(ctx, as)
			}
		}
		if err == errEnded {
			c.h.hub.forget(ch)
			err = ctx.Err()
		}
		c.h.hub.release(ch)
		switch {
		case err == errFollowed:
			return nil, Errorf(CodeBadCommand, "%s is followed already", quoteName(channel))
		case err != nil:
			return nil, err
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
	rewind, rewinds := r.Options["rewind"]
	if snapshot && resume || snapshot && rewinds || resume && rewinds {
		return Errorf(CodeBadCommand, "snapshot, since and rewind exclude each other")
	}
	if resume {
		if _, err := pubsub.ParseOffset(since); err != nil {
			return Errorf(CodeBadCommand, "since: %s is not an offset", quoteName(since))
		}
	}
	last, err := strconv.ParseUint(rewind, 10, 31)
	if rewinds && err != nil {
		return Errorf(CodeBadCommand, "rewind: %s is not a number of messages", quoteName(rewind))
	}
	as, withdrawn := c.principal.Load(), c.h.withdrawn.Load()
	if err := c.authorizeSub(ctx, name, snapshot); err != nil {
		return err
	}
	if rule := c.h.rule(name); rewinds && (rule == nil || rule.Rewind == 0) {
		return Errorf(CodeForbidden, "%s has no rewind", quoteName(name))
	}
	if f := c.follower(name); f != nil {
		if !snapshot && !resume && !rewinds {
			if ack {
				c.push(entry{data: c.subscribed(r, name, subscription{}), kept: true})
			}
			return nil
		}
		held, err := c.h.hub.follow(ctx, name) // the log must not end with its last follower
		if err != nil {
			return err
		}
		defer c.h.hub.release(held)
		c.leave(f) // and join anew
	}
	f, err := c.join(ctx, name)
	if err != nil {
		return err
	}
	if c.principal.Load() != as || c.h.withdrawn.Load() != withdrawn { // SetPrincipal or a Remote may have looked before the channel was there
		if err := c.authorizeSub(ctx, name, snapshot); err != nil {
			c.leave(f)
			return err
		}
	}
	var s subscription
	switch {
	case snapshot:
		err = f.beginSnapshot(ctx, r, &s)
	case resume:
		err = f.beginSince(ctx, since, &s)
	case rewinds:
		f.seek(func(l *log) (uint64, bool) { return l.back(min(int(last), f.ch.rule.Rewind)), true })
	}
	if errors.Is(err, errLeft) {
		return c.leftError(ctx, name, snapshot)
	}
	if err != nil {
		c.leave(f)
		return err
	}
	if resume || rewinds {
		n, size := f.missed()
		c.debit(float64(n)/valuesPerCost + sizeCost(size, readPerCost))
	}
	if s.offset == "" && f.ch.rule.History != nil {
		s.offset = f.offset()
	}
	var answer []byte
	if ack || snapshot || resume || rewinds || f.ch.rule.History != nil {
		answer = c.subscribed(r, name, s)
	}
	if !c.goLive(f, answer, s.offset) {
		return c.leftError(ctx, name, snapshot)
	}
	return nil
}

// errLeft says that a follower was removed before it was live.
var errLeft = errors.New("gateway: unsubscribed meanwhile")

// leftError returns why a SUB failed whose follower was removed meanwhile: by SetPrincipal
// for instance, which has told the client.
func (c *Conn) leftError(ctx context.Context, name string, snapshot bool) error {
	if !c.isOpen() {
		return ErrClosed
	}
	if err := c.authorizeSub(ctx, name, snapshot); err != nil {
		return err
	}
	return Errorf(CodeUnavailable, "%s was unsubscribed meanwhile; try again", quoteName(name))
}

// goLive queues what answers a SUB, if anything does, and has messages after an offset sent
// from then on.
// It reports false, and queues nothing, if the follower was removed.
func (c *Conn) goLive(f *follower, answer []byte, offset string) bool {
	c.mu.Lock()
	follows := c.following.get(f.ch.name) == f
	if follows && c.state == open {
		c.queueLocked(entry{data: answer, live: f, offset: offset, kept: true})
	}
	c.mu.Unlock()
	c.flush()
	return follows
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
	offset    string // all messages after it follow; empty: unknown
	recovered *bool  // nil: the client did not ask
	values    *int   // number of values in the snapshot; nil: there is none
}

// subscribed returns the answer of a SUB.
func (c *Conn) subscribed(r Request, name string, s subscription) []byte {
	raw := appendString([]byte(`{"status": "subscribed", "channel": `), name)
	if s.offset != "" {
		raw = appendString(append(raw, `, "offset": `...), s.offset)
	}
	if s.recovered != nil {
		raw = strconv.AppendBool(append(raw, `, "recovered": `...), *s.recovered)
	}
	if s.values != nil {
		raw = strconv.AppendInt(append(raw, `, "snapshot": `...), int64(*s.values), 10)
	}
	return c.compiledStatus(append(raw, '}'), r.Ref)
}

// beginSnapshot sends a snapshot.
func (f *follower) beginSnapshot(ctx context.Context, r Request, s *subscription) error {
	snap, err := f.snapshot(ctx)
	if err != nil {
		return err
	}
	sent, err := snap.send(f, r)
	s.values = &sent
	return err
}

// missed returns the number and the size of the messages that follow at once.
func (f *follower) missed() (n, size int) {
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	f.ch.mu.Lock()
	defer f.ch.mu.Unlock()
	return f.ch.log.since(f.at)
}

// offset returns the offset before the first message that the follower gets.
func (f *follower) offset() string {
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	f.ch.mu.Lock()
	defer f.ch.mu.Unlock()
	l, at := &f.ch.log, f.at
	for _, r := range l.records[l.search(at):] {
		if r.m != nil && (r.m.seq == 0 || r.m.seq > f.seq) {
			break
		}
		at = r.at + 1
	}
	return l.offsetBefore(at)
}

// beginSince sets the cursor after an offset: in the log, or in the history, whose
// messages become part of the log.
func (f *follower) beginSince(ctx context.Context, since string, s *subscription) error {
	s.recovered = new(false)
	ch := f.ch
	if ch.rule.History == nil {
		return nil
	}
	if f.seekAfter(since) {
		*s.recovered, s.offset = true, since
		return nil
	}
	select {
	case ch.recalling <- struct{}{}:
		defer func() { <-ch.recalling }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if !f.seekAfter(since) { // no other SUB has read it meanwhile
		missed, _, complete, err := ch.hub.h.source.(Recaller).Recall(ctx, ch.name, since)
		if err != nil || !complete || !f.recall(since, missed) {
			return err
		}
	}
	*s.recovered, s.offset = true, since
	return nil
}

// seekAfter sets the cursor after an offset, if all that follows is in the log.
func (f *follower) seekAfter(since string) bool {
	return f.seek(func(l *log) (uint64, bool) {
		at, where := l.locate(since)
		return at, where == inside
	})
}

// recall sets the cursor after an offset, with the messages of the history that follow it.
// It reports false if the log has no room for them.
func (f *follower) recall(since string, missed []Publication) bool {
	ch := f.ch
	ch.mu.Lock()
	base := ch.log.base
	ch.mu.Unlock()
	var before []record
	for _, p := range missed {
		if !covers(base, p.Offset) {
			break // the log has it, or will have it
		}
		if m, key := ch.message(p); m != nil {
			before = append(before, record{m: m, key: key})
		}
	}
	return f.seek(func(l *log) (uint64, bool) {
		at, where := l.locate(since)
		switch {
		case where == ahead:
			f.after = since
			return f.at, true
		case where == older && !l.prepend(before, since, base):
			return 0, false
		case where == older:
			at = l.tail
		}
		return at, true
	})
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
