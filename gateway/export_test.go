package gateway

import (
	"context"
	"errors"
	"time"
)

// EndSubscription ends the subscription of a channel, as Redis does that refuses it.
func (h *Handler) EndSubscription(channel string) {
	h.hub.mu.Lock()
	ch := h.hub.channels[channel]
	h.hub.mu.Unlock()
	ch.deliver(Publication{ended: errors.New("refused")})
}

// Users returns how many connections follow a channel, or are about to.
func (h *Handler) Users(channel string) int {
	h.hub.mu.Lock()
	defer h.hub.mu.Unlock()
	if ch := h.hub.channels[channel]; ch != nil {
		return ch.users
	}
	return 0
}

// Logged returns the number of messages in the log of a channel.
func (h *Handler) Logged(channel string) int {
	h.hub.mu.Lock()
	ch := h.hub.channels[channel]
	h.hub.mu.Unlock()
	if ch == nil {
		return 0
	}
	ch.mu.Lock()
	defer ch.mu.Unlock()
	return ch.log.live
}

// CatchUp carries out what Redis keeps for Config.Remote, as it is done each minute.
func (h *Handler) CatchUp() {
	for range 3 { // one is queued, so that the third is taken after the first was carried out
		h.remote.missed <- struct{}{}
	}
}

// CatchUpAfter carries out what Redis keeps, as if it was reached again after a time.
func (h *Handler) CatchUpAfter(away time.Duration) error {
	h.cfg.Remote = "web"
	e, err := newRemoteEnd(h)
	if err != nil {
		return err
	}
	e.caughtUp = h.elapsed() - int64(away)
	return e.catchUp()
}

// Joins returns what compares the presence of a channel with Redis, and delivers the messages.
func (h *Handler) Joins(ctx context.Context, name string, deliver func([]byte)) (compare func() error, err error) {
	of, err := h.joinsOf(name)
	if err != nil {
		return nil, err
	}
	j := &joins{h: h, of: of, deliver: func(p Publication) { deliver(p.Data) }}
	if j.all, err = h.presence(of, ""); err != nil {
		return nil, err
	}
	j.present, err = j.read(ctx)
	return func() error { return j.compare(ctx) }, err
}
