package gateway

import (
	"math/rand/v2"
	"time"

	"github.com/gobwas/ws"
)

// sweep checks all connections periodically. It runs on one goroutine, in place of
// timers for each connection, from the first connection until Close.
func (h *Handler) sweep() {
	every := h.sweepEvery()
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-h.ctx.Done():
			return
		case <-ticker.C:
		}
		now, wall := h.elapsed(), time.Now()
		h.clock.Store(now)
		for _, c := range h.all() {
			c.checkTimes(now, wall)
		}
		h.hub.sweep()
		h.forgetDisconnects()
		if h.redis != nil {
			h.redis.sweep()
		}
	}
}

// sweepEvery returns the period: a quarter of the shortest limit, at most a second.
func (h *Handler) sweepEvery() time.Duration {
	l, every := &h.cfg.Limits, 4*time.Second
	for _, d := range []time.Duration{l.Write, l.Ping, l.Pong, l.Idle, l.Lifetime} {
		if d > 0 {
			every = min(every, d)
		}
	}
	return max(every/4, time.Millisecond)
}

// elapsed returns the time since the handler was made, in ns and never 0. The system's
// clock may be set meanwhile: a step of it must not drop clients or change their limits.
func (h *Handler) elapsed() int64 { return max(1, int64(time.Since(h.began))) }

// now returns the time of the last sweep: exact enough, and cheap.
func (h *Handler) now() int64 { return h.clock.Load() }

// jittered returns a time between pings, so that ten thousand clients that connect at
// once are not pinged at once.
func (h *Handler) jittered() int64 {
	every := int64(h.cfg.Limits.Ping)
	if every < 0 {
		return 0
	}
	return every - every/5 + rand.Int64N(2*every/5+1)
}

var pingFrame = ws.MustCompileFrame(ws.NewPingFrame(nil))

// checkTimes enforces the time limits of a connection, and pings. Only Principal.Expires
// is a time of the system's clock.
func (c *Conn) checkTimes(now int64, wall time.Time) {
	l := &c.h.cfg.Limits
	c.mu.Lock()
	state, began, closed, busy := c.state, c.began, c.closedAt, c.writing || c.cancel != nil
	c.mu.Unlock()
	switch {
	case state == ended:
		return
	case !began.IsZero() && time.Since(began) > l.Write:
		if state == open {
			c.h.count.slow.Add(1)
		}
		c.abort(CloseReason{Code: CloseSlow, Text: "a write made no progress"})
		return
	case state == closing:
		if now-closed > int64(l.Write) {
			c.abort(CloseReason{}) // keeps its reason
		}
		return
	}
	expires := c.Principal().Expires
	pinged := c.pingSent.Load()
	if pinged != 0 && busy { // the ping is behind the queue, or the pong behind a command: those have limits of their own
		c.pingSent.CompareAndSwap(pinged, now)
		pinged = now
	}
	switch {
	case !expires.IsZero() && wall.After(expires):
		c.h.count.ended.Add(1)
		c.Close(CloseExpired, "expired")
	case l.Lifetime > 0 && now-c.connectedAt > int64(l.Lifetime):
		c.h.count.ended.Add(1)
		c.Close(CloseLifetime, "the connection has reached its lifetime")
	case l.Idle > 0 && !c.v.events && now-c.lastMessage.Load() > int64(l.Idle):
		c.h.count.ended.Add(1)
		c.Close(CloseIdle, "idle")
	case pinged != 0 && now-pinged > int64(l.Pong):
		c.h.count.dropouts.Add(1)
		c.abort(CloseReason{Code: CloseAbnormal, Text: "no answer to a ping"})
	case l.Ping > 0 && c.v.events && now > c.nextPing:
		c.nextPing = now + c.h.jittered()
		c.push(entry{data: heartbeat, kept: true})
	case l.Ping > 0 && pinged == 0 && now > c.nextPing:
		c.nextPing = now + c.h.jittered()
		c.pingSent.Store(now)
		c.push(entry{data: pingFrame, kept: true})
	}
}
