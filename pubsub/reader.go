package pubsub

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/heliograph/heliograph/internal/redisio"
)

// read handles the replies of a connection until it breaks. It reports whether Redis
// had answered at all.
func (l *link) read(c *conn) (good bool, err error) {
	ctx, cancel := context.WithCancelCause(l.ctx)
	defer cancel(nil)
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	defer c.Close()
	l.hub.tasks.Go(func() { l.watch(ctx, cancel, c) })

	in := newReplies(c.net)
	_ = c.net.SetReadDeadline(time.Time{}) // there is that of the handshake
	for {
		rep, err := in.next()
		if err == nil {
			l.received.Add(1)
			err = l.handle(rep)
		}
		if err != nil {
			if cause := context.Cause(ctx); cause != nil {
				err = cause
			} else if errors.Is(err, net.ErrClosed) { // the pool has closed it
				err = errDeparted
			}
			return good, err
		}
		good = true
	}
}

var errDeparted = errors.New("another server is the primary now")

// handle handles a reply.
func (l *link) handle(rep reply) error {
	switch rep.what {
	case message, pmessage, smessage:
		l.deliver(rep)
		return nil
	case confirmed, sconfirmed:
		return l.confirmName(rep)
	case refused:
		return l.refuseCommand(rep.err)
	}
	return nil
}

// among says which kinds of bindings a reply may be for.
var among = [...][]kind{message: {exact, key}, pmessage: {glob, keys}, smessage: {shard}}

// deliver adds a message to the queues of its route.
func (l *link) deliver(rep reply) {
	h := l.hub
	h.mu.Lock()
	var binding *binding
	for _, k := range among[rep.what] {
		if binding = l.bindings[k][string(rep.name)]; binding != nil {
			break
		}
	}
	if binding == nil || binding.state != live { // or it is the probe
		h.mu.Unlock()
		return
	}
	r, members := binding.route, binding.route.members
	h.mu.Unlock()
	p := &packet{payload: rep.payload, seq: h.c.stats.received.Add(1)}
	if rep.what == pmessage {
		p.channel = string(rep.channel[r.strip:])
	} else {
		p.channel = r.name[r.strip:]
	}
	if len(members) > 1 {
		p.shared = &shared{}
	}
	for _, member := range members {
		member.q.push(p)
	}
}

var errAnswer = errors.New("an answer to what was not asked")

// confirmName notes that Redis has carried out a command for one name.
func (l *link) confirmName(rep reply) error {
	h := l.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(l.asks) == 0 || l.asks[0].name(l) != string(rep.name) || l.asks[0].unsubs != rep.unsub {
		if rep.what != sconfirmed || !rep.unsub {
			return fmt.Errorf("%w: %q", errAnswer, rep.name)
		}
		// The slot has gone to another server.
		if binding := l.bindings[shard][string(rep.name)]; binding != nil && binding.state == live {
			binding.state = idle
			h.schedulePlacementLocked()
		}
		return nil
	}
	a := &l.asks[0]
	binding := a.next()
	a.left--
	if a.left == 0 {
		l.asks = l.asks[1:]
	}
	switch {
	case binding == nil: // the probe
	case rep.unsub:
		binding.state = idle
		l.markLocked(binding)
	case binding.over:
		binding.state = live
		l.markLocked(binding)
	default:
		h.confirmLocked(binding, l.cause)
	}
	return nil
}

// next returns the binding that the next answer is about; nil: the probe.
func (a *ask) next() *binding {
	if a.bindings == nil {
		return nil
	}
	return a.bindings[len(a.bindings)-a.left]
}

// name returns the name in the next answer.
func (a *ask) name(l *link) string {
	if binding := a.next(); binding != nil {
		return binding.route.name
	}
	return l.probe
}

// refuseCommand notes that Redis has refused a command with all its names.
func (l *link) refuseCommand(err error) error {
	h := l.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(l.asks) == 0 {
		return fmt.Errorf("%w: %w", errAnswer, err)
	}
	a := l.asks[0]
	l.asks = l.asks[1:]
	if a.bindings == nil {
		l.probeRefused = true
		return nil
	}
	for _, binding := range a.bindings {
		binding.state = idle
		switch {
		case len(a.bindings) > 1: // one name may be the reason for all
			binding.alone = true
			l.markLocked(binding)
		case a.unsubs, binding.over:
			l.markLocked(binding)
		case binding.route.kind.placed() && h.isCluster() && elsewhere(err):
			h.schedulePlacementLocked()
		default:
			h.refuseLocked(binding.route, err)
		}
	}
	return nil
}

// elsewhere reports whether an error says that the slot is at another server.
func elsewhere(err error) bool {
	switch word, _, _ := strings.Cut(err.Error(), " "); word {
	case "MOVED", "ASK", "CLUSTERDOWN", "TRYAGAIN":
		return true
	}
	return false
}

var errSilent = errors.New("redis is silent, to a probe too")

// watch breaks a connection that receives nothing, not even the probe that is published
// for it. An answer to PING would prove only that the socket works.
func (l *link) watch(ctx context.Context, cancel context.CancelCauseFunc, c *conn) {
	every := l.hub.c.cfg.Probe
	if every < 0 {
		return
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	received, probed := int64(-1), false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		switch now := l.received.Load(); {
		case now != received:
			received, probed = now, false
		case probed:
			cancel(errSilent)
		default:
			probed = true
			l.sendProbe(c)
		}
	}
}

func (l *link) sendProbe(to *conn) {
	c := l.hub.c
	c.stats.probes.Add(1)
	l.hub.mu.Lock()
	probeRefused := l.probeRefused
	l.hub.mu.Unlock()
	if probeRefused { // an ACL refuses the probe's channel, so PING must do
		_ = to.Ping(guarded(l.ctx))
		return
	}
	ctx, cancel := context.WithTimeout(l.ctx, c.cfg.Probe)
	context.AfterFunc(ctx, cancel)
	redisio.Of(c.pool).Writer().Publish(ctx, l.probe, nil, false, func(int64, error) {})
}
