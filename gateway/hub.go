package gateway

import (
	"context"
	"errors"
	"strconv"
	"sync"

	"github.com/heliograph/heliograph/storage"
)

// hub knows which connections follow which channels, and follows each channel once.
type hub struct {
	h        *Handler
	mu       sync.Mutex
	channels map[string]*channel
	closed   bool
}

// channel is a channel that at least one connection follows, or is about to.
type channel struct {
	hub   *hub
	name  string
	rule  *Channel
	ready chan struct{} // closed once subscribed, or with err
	stop  func()
	err   error
	users int // members and those that wait for ready; guarded by hub.mu

	presence *storage.Presence[presenceEntry] // nil: Channel.Presence is not set

	mu      sync.Mutex
	over    bool // nothing is delivered any more
	pending []Publication
	running bool
	members []*member
	sorted  []*member // a copy of members; nil: they have changed since
}

// follow returns a channel once it is subscribed to. The caller must release it.
func (hb *hub) follow(ctx context.Context, name string) (*channel, error) {
	hb.mu.Lock()
	if hb.closed {
		hb.mu.Unlock()
		return nil, ErrClosed
	}
	ch := hb.channels[name]
	if ch == nil {
		ch = &channel{hub: hb, name: name, rule: hb.h.rule(name), ready: make(chan struct{})}
		if ch.rule == nil { // no pattern matches: Conn.Subscribe allows any name
			ch.rule = &anyChannel
		}
		hb.channels[name] = ch
		hb.h.tasks.Go(func() { ch.start() })
	}
	ch.users++
	hb.mu.Unlock()

	var err error
	select {
	case <-ch.ready:
		err = ch.err
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		hb.release(ch)
		return nil, err
	}
	return ch, nil
}

// start subscribes to the channel, for all that wait for ready.
func (ch *channel) start() {
	defer close(ch.ready)
	h := ch.hub.h
	ctx, cancel := context.WithTimeout(h.ctx, h.cfg.Limits.Command)
	defer cancel()
	if ch.rule.Presence {
		ch.presence, ch.err = h.presence(ch.name, h.id+":"+strconv.FormatUint(h.next.Add(1), 36))
	}
	if ch.err == nil {
		ch.err = errors.New("gateway: Source.Follow panicked") // replaced if Follow returns
		h.guard("Source.Follow", func() { ch.stop, ch.err = h.source.Follow(ctx, ch.name, ch.deliver) })
	}
	if ch.err != nil {
		ch.hub.forget(ch)
		ch.end()
	}
}

// end ends the subscription and the presence of a channel.
func (ch *channel) end() {
	ch.mu.Lock()
	ch.over = true
	ch.mu.Unlock()
	if ch.stop != nil {
		ch.hub.h.guard("stop function of Source.Follow", ch.stop)
	}
	if ch.presence != nil {
		_ = ch.presence.Close()
	}
}

// forget makes the next follow subscribe anew.
func (hb *hub) forget(ch *channel) {
	hb.mu.Lock()
	defer hb.mu.Unlock()
	if hb.channels[ch.name] == ch {
		delete(hb.channels, ch.name)
	}
}

// release ends one use of a channel. The last one ends the channel.
func (hb *hub) release(ch *channel) {
	hb.mu.Lock()
	ch.users--
	over := ch.users == 0
	if over && hb.channels[ch.name] == ch {
		delete(hb.channels, ch.name)
	}
	hb.mu.Unlock()
	if over {
		hb.h.tasks.Go(func() {
			<-ch.ready
			if ch.err == nil {
				ch.end()
			}
		})
	}
}

// add makes a connection a member. Its messages are held until it is live.
func (ch *channel) add(c *Conn, as presenceEntry) *member {
	m := &member{c: c, ch: ch, presence: as}
	ch.mu.Lock()
	defer ch.mu.Unlock()
	m.index = len(ch.members)
	ch.members = append(ch.members, m)
	ch.sorted = nil
	return m
}

// remove ends a membership: nothing is queued for it any more.
func (ch *channel) remove(m *member) {
	m.c.mu.Lock()
	m.left, m.held = true, nil
	m.notifyLocked()
	m.c.mu.Unlock()
	ch.mu.Lock()
	last := len(ch.members) - 1
	ch.members[m.index] = ch.members[last]
	ch.members[m.index].index = m.index
	ch.members[last] = nil
	ch.members = ch.members[:last]
	ch.sorted = nil
	ch.mu.Unlock()
	ch.hub.release(ch)
}
