package bus

import (
	"context"

	"github.com/heliograph/heliograph/storage"
)

// maxSendBytes is the size of the requests of one Gather or Send that may wait for
// Redis, in bytes; a quarter of storage.Config.MaxQueuedBytes if that is less.
const maxSendBytes = 4 << 20

// maxSendRequests is the number of such requests.
const maxSendRequests = 1024

// sendWindow lets the requests to an audience, which have one size, through to the
// pool's writer: all at once may exceed what may wait there. It has an element for
// each request that waits.
type sendWindow chan struct{}

func newSendWindow(pool *storage.Pool, size, requests int) sendWindow {
	fit := min(maxSendBytes, pool.Config().MaxQueuedBytes/4) / max(size, 1)
	return make(sendWindow, max(min(fit, maxSendRequests, requests), 1))
}

// enter waits until one more request may be sent, and returns an error if ctx ends
// first.
func (s sendWindow) enter(ctx context.Context) error {
	select {
	case s <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// leave notes that a request was written or refused.
func (s sendWindow) leave() { <-s }
