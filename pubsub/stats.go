package pubsub

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/heliograph/heliograph/internal/redisio"
)

// EventKind says what an [Event] is about.
type EventKind uint8

const (
	// EventConnected: a connection was made; its channels are being subscribed to.
	EventConnected EventKind = iota
	// EventDisconnected: a connection was lost.
	EventDisconnected
	// EventReconnecting: a connection is about to be tried again.
	EventReconnecting
	// EventReconnectFailed: a connection could not be made; it is tried again.
	EventReconnectFailed
)

// String returns connected, disconnected, reconnecting or reconnect failed.
func (k EventKind) String() string {
	return [...]string{"connected", "disconnected", "reconnecting", "reconnect failed"}[k]
}

// Event is a change of a connection that subscribes.
type Event struct {
	Kind EventKind
	Addr string // the server's address on a cluster; otherwise empty
	Try  int    // number of tries since the connection was lost; 0 for the first connection
	Err  error  // the reason, for EventDisconnected and EventReconnectFailed
}

// event calls Config.OnEvent, and logs that the connection was lost or is back.
func (c *Client) event(e Event) {
	c.logs.event(e)
	switch e.Kind {
	case EventConnected:
		c.stats.connects.Add(1)
	case EventDisconnected:
		c.stats.disconnects.Add(1)
	}
	if c.cfg.OnEvent != nil {
		c.cfg.OnEvent(e)
	}
}

// logs logs what cannot be returned, each text once a minute.
type logs struct {
	log *slog.Logger

	mu        sync.Mutex
	down      map[string]time.Time         // since when a connection is lost, by address
	throttles map[string]*redisio.Throttle // by text
}

func (n *logs) event(e Event) {
	n.mu.Lock()
	defer n.mu.Unlock()
	since, down := n.down[e.Addr]
	switch {
	case e.Err != nil && !down:
		if n.down == nil {
			n.down = make(map[string]time.Time)
		}
		n.down[e.Addr] = time.Now()
		n.log.Warn("pubsub: connection to Redis lost, reconnecting", "addr", e.Addr, "error", e.Err)
	case e.Kind == EventConnected && down:
		delete(n.down, e.Addr)
		n.log.Info("pubsub: connected to Redis again", "addr", e.Addr, "after", time.Since(since).Round(time.Millisecond))
	}
}

// warn logs one line of each text a minute.
func (n *logs) warn(msg string, args ...any) {
	n.mu.Lock()
	t := n.throttles[msg]
	if t == nil {
		if n.throttles == nil {
			n.throttles = make(map[string]*redisio.Throttle)
		}
		t = new(redisio.Throttle)
		n.throttles[msg] = t
	}
	n.mu.Unlock()
	t.Warn(n.log, msg, args...)
}

type clientStats struct {
	published, refused, received atomic.Int64
	connects, disconnects        atomic.Int64
	cuts, probes, gaps           atomic.Int64
	recovered, undecodable       atomic.Int64
	failed, panics               atomic.Int64
}

// Stats is a snapshot of a [Client]. The fields from Connections to Overflow are
// current numbers; the others count since the client was made.
type Stats struct {
	Connections   int `json:"connections"`   // connections that subscribe
	Channels      int `json:"channels"`      // channels and patterns subscribed to at Redis
	Subscriptions int `json:"subscriptions"` // subscriptions and listeners
	Queued        int `json:"queued"`        // messages that wait for their consumers
	QueuedBytes   int `json:"queued_bytes"`  // size of these messages
	Overflow      int `json:"overflow"`      // bytes beyond the limits of queues with OverflowBlock

	Published int64 `json:"published"` // messages that Redis accepted
	Refused   int64 `json:"refused"`   // messages whose Publish failed
	Received  int64 `json:"received"`  // messages that Redis sent
	Delivered int64 `json:"delivered"` // messages given to consumers; a received message may have several or none

	Gaps        int64 `json:"gaps"`        // GapErrors given to consumers
	Recovered   int64 `json:"recovered"`   // messages read from a history to fill a gap
	Dropped     int64 `json:"dropped"`     // messages dropped by OverflowDropOldest
	Conflated   int64 `json:"conflated"`   // messages replaced by OverflowConflate
	Slow        int64 `json:"slow"`        // subscriptions that ended with ErrSlow
	Undecodable int64 `json:"undecodable"` // messages that could not be decoded
	Failed      int64 `json:"failed"`      // handlers that returned an error
	Panics      int64 `json:"panics"`      // handlers that panicked

	Connects     int64 `json:"connects"`     // connections made
	Disconnects  int64 `json:"disconnects"`  // connections lost
	Resubscribed int64 `json:"resubscribed"` // channels subscribed to again after a lost connection
	Probes       int64 `json:"probes"`       // probes sent because a connection was silent
}

func (c *counts) add(d counts) {
	c.delivered += d.delivered
	c.dropped += d.dropped
	c.conflated += d.conflated
	c.slow += d.slow
}

// Stats returns a snapshot of the client.
func (c *Client) Stats() Stats {
	s := Stats{
		Overflow:  int(c.overflow.Load()),
		Published: c.stats.published.Load(), Refused: c.stats.refused.Load(), Received: c.stats.received.Load(),
		Recovered: c.stats.recovered.Load(), Undecodable: c.stats.undecodable.Load(),
		Failed: c.stats.failed.Load(), Panics: c.stats.panics.Load(),
		Connects: c.stats.connects.Load(), Disconnects: c.stats.disconnects.Load(),
		Resubscribed: c.stats.cuts.Load(), Gaps: c.stats.gaps.Load(), Probes: c.stats.probes.Load(),
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	total := c.past
	for q := range c.queues {
		q.mu.Lock()
		s.Queued += len(q.entries) - q.head
		s.QueuedBytes += q.bytes
		total.add(q.counts)
		q.mu.Unlock()
	}
	s.Subscriptions = len(c.queues)
	s.Delivered, s.Dropped = total.delivered, total.dropped
	s.Conflated, s.Slow = total.conflated, total.slow
	if h := c.hub; h != nil {
		h.mu.Lock()
		defer h.mu.Unlock()
		for _, l := range h.links {
			if l.conn != nil {
				s.Connections++
			}
			for _, bindings := range l.bindings {
				for _, binding := range bindings {
					if binding.state == live {
						s.Channels++
					}
				}
			}
		}
	}
	return s
}
