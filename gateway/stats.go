package gateway

import "sync/atomic"

// Stats is a snapshot of a Handler. What is not said to be now counts since the
// handler was made.
type Stats struct {
	Connections   int // now
	Channels      int // now, that somebody follows
	Subscriptions int // now, of connections to channels

	Accepted       int64 // connections
	RefusedOrigin  int64 // requests, by 403
	RefusedAuth    int64 // by 401 or 403
	RefusedBusy    int64 // by 429 or 503: Limits.Connections, PerAddress, AcceptRate
	RefusedRequest int64 // that were no WebSocket handshake

	Messages int64 // from clients
	Commands int64
	Errors   int64 // commands that were not carried out
	TooFast  int64 // of them, by Limits.Commands

	Published   int64 // messages of channels that came here
	Delivered   int64 // to clients' queues; one published may be delivered to many
	Filtered    int64 // withheld by filters
	Gaps        int64 // told to channels
	Overflowed  int64 // lost by Limits.Pending, and told as a gap
	Dropped     int64 // by SlowDropOldest
	Conflated   int64 // replaced by newer ones
	Slow        int64 // connections that were ended as too slow
	Dropouts    int64 // connections that did not answer a ping
	Ended       int64 // connections whose time was over: Limits.Idle, Lifetime, Principal.Expires
	BadFrames   int64 // connections that broke the protocol or sent too much
	Unavailable int64 // commands that Redis did not answer
	Panics      int64 // in what is the host's
}

// counters are what Stats is made of.
type counters struct {
	subscriptions, accepted, origin, auth, busy, request, messages, commands, errors, tooFast,
	published, delivered, filtered, gaps, overflowed, dropped, conflated, slow, dropouts, ended, badFrames, unavailable, panics atomic.Int64
}

// Stats returns what the handler is doing.
func (h *Handler) Stats() Stats {
	h.hub.mu.Lock()
	channels := len(h.hub.channels)
	h.hub.mu.Unlock()
	n := &h.count
	return Stats{
		Connections: int(h.open.Load()), Channels: channels, Subscriptions: int(n.subscriptions.Load()),
		Accepted: n.accepted.Load(), RefusedOrigin: n.origin.Load(), RefusedAuth: n.auth.Load(),
		RefusedBusy: n.busy.Load(), RefusedRequest: n.request.Load(),
		Messages: n.messages.Load(), Commands: n.commands.Load(), Errors: n.errors.Load(), TooFast: n.tooFast.Load(),
		Published: n.published.Load(), Delivered: n.delivered.Load(), Filtered: n.filtered.Load(), Gaps: n.gaps.Load(),
		Overflowed: n.overflowed.Load(), Dropped: n.dropped.Load(), Conflated: n.conflated.Load(), Slow: n.slow.Load(),
		Dropouts: n.dropouts.Load(), Ended: n.ended.Load(), BadFrames: n.badFrames.Load(),
		Unavailable: n.unavailable.Load(), Panics: n.panics.Load(),
	}
}
