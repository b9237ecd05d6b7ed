package gateway

import (
	"context"
	"errors"
	"maps"
	"slices"
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
	hub       *hub
	name      string
	rule      *Channel
	ready     chan struct{} // closed once subscribed, or with err
	forgotten chan struct{} // closed once the subscription has ended by itself
	stop      func()
	err       error
	users     int // followers and those that wait for ready; guarded by hub.mu

	presence  *storage.Presence[presenceEntry] // nil: Channel.Presence is not set
	announced bool                             // its joins are the messages of another channel
	recalling chan struct{}                    // holds a token while the history is read

	mu        sync.Mutex // may be taken while Conn.mu is held, not the other way round
	log       log
	snap      *snapshot // that further clients may get; nil: there is none
	running   bool      // run hands out
	untrimmed bool      // the log may have messages that all followers have read since the last round
	trimming  bool      // run has a round for it, though there may be nothing to hand out
	over      bool      // nothing is delivered any more
	ended     error     // why the subscription has ended
	followers []*follower
	seeks     int // cursors that were set anywhere but at the end, or joined, so far
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
		ch = &channel{hub: hb, name: name, rule: hb.h.rule(name), ready: make(chan struct{}), forgotten: make(chan struct{}), recalling: make(chan struct{}, 1)}
		if ch.rule == nil { // no pattern matches: Conn.Subscribe allows any name
			ch.rule = &anyChannel
		}
		ch.log = newLog(&hb.h.cfg.Limits, ch.rule.Slow == SlowConflate)
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
		ch.announced = h.announces(ch.name)
	}
	follow := h.source.Follow
	if ch.rule.Joins != "" {
		follow = h.followJoins
	}
	if ch.err == nil {
		ch.err = errors.New("gateway: Source.Follow panicked") // replaced if Follow returns
		h.guard("Source.Follow", func() { ch.stop, ch.err = follow(ctx, ch.name, ch.deliver) })
	}
	if ch.err == nil && ch.rule.History != nil {
		var base string
		if _, base, _, ch.err = h.source.(Recaller).Recall(ctx, ch.name, ""); ch.err == nil {
			ch.mu.Lock()
			ch.log.begin(base)
			ch.mu.Unlock()
		}
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
		close(ch.forgotten)
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

// sweep frees what is not needed any more in channels on which nothing is published:
// snapshots, and messages that slow followers have read since they were handed out.
func (hb *hub) sweep() {
	hb.mu.Lock()
	all := slices.AppendSeq(make([]*channel, 0, len(hb.channels)), maps.Values(hb.channels))
	hb.mu.Unlock()
	for _, ch := range all {
		ch.mu.Lock()
		ch.dropSnapshotLocked()
		if ch.untrimmed && !ch.running && !ch.over {
			ch.running, ch.trimming = true, true
			hb.h.tasks.Go(ch.run)
		}
		ch.mu.Unlock()
	}
}

// errEnded is returned for a channel whose subscription has ended.
var errEnded = errors.New("gateway: the subscription has ended")

// add makes a connection a follower, from the end of the log on. The connection knows the
// follower as soon as the channel does: the end of either removes it.
func (ch *channel) add(c *Conn, as presenceEntry) (*follower, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.state != open:
		return nil, ErrClosed
	case c.following.get(ch.name) != nil: // another goroutine was faster
		return nil, errFollowed
	}
	if err := c.roomLocked(); err != nil {
		return nil, err
	}
	ch.mu.Lock()
	defer ch.mu.Unlock()
	if ch.ended != nil {
		return nil, errEnded
	}
	f := &follower{c: c, ch: ch, presence: as, index: len(ch.followers), at: ch.log.next}
	ch.followers = append(ch.followers, f)
	ch.seeks++
	c.following.add(f)
	c.h.count.subscriptions.Add(1)
	return f, nil
}

// remove removes a follower: nothing more is sent for it.
func (ch *channel) remove(f *follower) {
	f.c.mu.Lock()
	f.left = true
	f.c.mu.Unlock()
	ch.mu.Lock()
	last := len(ch.followers) - 1
	ch.followers[f.index] = ch.followers[last]
	ch.followers[f.index].index = f.index
	ch.followers[last] = nil
	ch.followers = ch.followers[:last]
	ch.mu.Unlock()
	ch.hub.release(ch)
}
