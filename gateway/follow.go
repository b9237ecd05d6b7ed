package gateway

import (
	"context"

	"github.com/heliograph/heliograph/internal/redisio"
)

// followAlways follows a channel of Config.Follow until the handler is closed, on a
// goroutine of its own. What ends the subscription, such as a right that was withdrawn, is
// waited out.
func (h *Handler) followAlways(name string) {
	for try := 0; h.ctx.Err() == nil; try++ {
		ctx, cancel := context.WithTimeout(h.ctx, h.cfg.Limits.Command)
		ch, err := h.hub.follow(ctx, name)
		cancel()
		if err == nil {
			try = 0
			select {
			case <-ch.forgotten:
			case <-h.ctx.Done():
			}
			h.hub.release(ch)
		} else if h.ctx.Err() == nil {
			h.warned.follow.Warn(h.log, "gateway: a channel of Config.Follow is not subscribed to, trying again", "channel", name, "error", err)
		}
		redisio.Sleep(h.ctx, redisio.Backoff(try))
	}
}
