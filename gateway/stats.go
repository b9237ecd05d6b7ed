package gateway

import "sync/atomic"

// Stats is a snapshot of a [Handler]. Connections, Channels and Subscriptions are
// current numbers; the others count since the handler was made.
type Stats struct {
	Connections   int `json:"connections"`   // open
	Channels      int `json:"channels"`      // followed by at least one connection
	Subscriptions int `json:"subscriptions"` // of connections to channels

	Accepted       int64 `json:"accepted"`        // connections
	RefusedOrigin  int64 `json:"refused_origin"`  // requests from a page that may not connect: 403
	RefusedAuth    int64 `json:"refused_auth"`    // requests that Config.Authenticate refused: 401 or 403
	RefusedBusy    int64 `json:"refused_busy"`    // requests above Limits.Connections, PerAddress or AcceptRate, or during Shutdown: 429 or 503
	RefusedRequest int64 `json:"refused_request"` // requests that were neither a WebSocket handshake nor one for an event stream

	Messages    int64 `json:"messages"`    // from clients
	Commands    int64 `json:"commands"`    // from clients
	Errors      int64 `json:"errors"`      // commands that were not carried out
	TooFast     int64 `json:"too_fast"`    // commands above Limits.Commands
	Unavailable int64 `json:"unavailable"` // commands that Redis did not answer

	Published  int64 `json:"published"`  // messages received on channels
	Delivered  int64 `json:"delivered"`  // messages written for a client; one published may be delivered to many
	Filtered   int64 `json:"filtered"`   // messages withheld by filters
	Gaps       int64 `json:"gaps"`       // gaps announced to channels
	Overflowed int64 `json:"overflowed"` // messages that came faster than they could be handed out, above Limits.LogMessages or LogBytes, and were announced as a gap
	Dropped    int64 `json:"dropped"`    // messages dropped for a client by SlowDropOldest
	Conflated  int64 `json:"conflated"`  // messages of a log replaced by newer ones, by SlowConflate

	Slow      int64 `json:"slow"`       // connections ended because the client read too slowly
	Dropouts  int64 `json:"dropouts"`   // connections ended because a ping was not answered
	Ended     int64 `json:"ended"`      // connections ended by Limits.Idle, Limits.Lifetime or Principal.Expires
	BadFrames int64 `json:"bad_frames"` // connections ended because the client violated the WebSocket protocol or sent too large a message
	Panics    int64 `json:"panics"`     // in hooks, commands, filters, protocols and sources of the host
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
