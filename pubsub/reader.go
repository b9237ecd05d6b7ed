package pubsub

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/heliograph/heliograph/internal/redisio"
)

// read hands out what a connection brings until it breaks. It reports whether
// Redis had answered at all.
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
			l.heard.Add(1)
			err = l.take(rep)
		}
		if err != nil {
			if cause := context.Cause(ctx); cause != nil {
				err = cause
			}
			return good, err
		}
		good = true
	}
}

// take does what a reply says.
func (l *link) take(rep reply) error {
	switch rep.what {
	case message, pmessage, smessage:
		l.message(rep)
		return nil
	case confirmed, sconfirmed:
		return l.answer(rep)
	case refused:
		return l.refused(rep.err)
	}
	return nil
}

// among says which kinds of legs a reply may be for.
var among = [...][]kind{message: {exact, key}, pmessage: {glob, keys}, smessage: {shard}}

// message hands a message to those who want it.
func (l *link) message(rep reply) {
	h := l.hub
	h.mu.Lock()
	var leg *leg
	for _, k := range among[rep.what] {
		if leg = l.legs[k][string(rep.name)]; leg != nil {
			break
		}
	}
	if leg == nil || leg.state != live { // or it is the probe
		h.mu.Unlock()
		return
	}
	r, members := leg.route, leg.route.members
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

// answer notes that Redis has carried out a command for one name.
func (l *link) answer(rep reply) error {
	h := l.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(l.asks) == 0 || l.asks[0].name(l) != string(rep.name) || l.asks[0].unsubs != rep.unsub {
		if rep.what != sconfirmed || !rep.unsub {
			return fmt.Errorf("%w: %q", errAnswer, rep.name)
		}
		// The slot has gone to another server.
		if leg := l.legs[shard][string(rep.name)]; leg != nil && leg.state == live {
			leg.state = idle
			h.look()
		}
		return nil
	}
	a := &l.asks[0]
	leg := a.next()
	if a.left--; a.left == 0 {
		l.asks = l.asks[1:]
	}
	switch {
	case leg == nil: // the probe
	case rep.unsub:
		leg.state = idle
		l.mark(leg)
	case leg.over:
		leg.state = live
		l.mark(leg)
	default:
		h.confirm(leg, l.cause)
	}
	return nil
}

// next returns the leg that the next answer is about; nil: the probe.
func (a *ask) next() *leg {
	if a.legs == nil {
		return nil
	}
	return a.legs[len(a.legs)-a.left]
}

// name returns the name in the next answer.
func (a *ask) name(l *link) string {
	if leg := a.next(); leg != nil {
		return leg.route.name
	}
	return l.probe
}

// refused notes that Redis has refused a command, with all that it asks for.
func (l *link) refused(err error) error {
	h := l.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(l.asks) == 0 {
		return fmt.Errorf("%w: %w", errAnswer, err)
	}
	a := l.asks[0]
	l.asks = l.asks[1:]
	if a.legs == nil {
		l.deaf = true
		return nil
	}
	for _, leg := range a.legs {
		leg.state = idle
		switch {
		case len(a.legs) > 1: // one may have spoilt it for all
			leg.alone = true
			l.mark(leg)
		case a.unsubs, leg.over:
			l.mark(leg)
		case leg.route.kind.homed() && h.isCluster() && elsewhere(err):
			h.look()
		default:
			h.refuse(leg.route, err)
		}
	}
	return nil
}

// elsewhere reports whether an error says to look at the cluster again.
func elsewhere(err error) bool {
	switch word, _, _ := strings.Cut(err.Error(), " "); word {
	case "MOVED", "ASK", "CLUSTERDOWN", "TRYAGAIN":
		return true
	}
	return false
}

var errSilent = errors.New("redis is silent, to a probe too")

// watch breaks a connection that brings nothing, not even what is published for
// it: an answer to PING would prove the socket only.
func (l *link) watch(ctx context.Context, cancel context.CancelCauseFunc, c *conn) {
	every := l.hub.c.cfg.Probe
	if every < 0 {
		return
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	heard, probed := int64(-1), false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		switch now := l.heard.Load(); {
		case now != heard:
			heard, probed = now, false
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
	deaf := l.deaf
	l.hub.mu.Unlock()
	if deaf { // an ACL does not let us: better than nothing
		_ = to.Ping(guarded(l.ctx))
		return
	}
	ctx, cancel := context.WithTimeout(l.ctx, c.cfg.Probe)
	context.AfterFunc(ctx, cancel)
	redisio.Of(c.pool).Writer().Publish(ctx, l.probe, nil, false, func(int64, error) {})
}
