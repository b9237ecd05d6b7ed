package bus

import (
	"context"
	"errors"
	"fmt"

	"github.com/heliograph/heliograph/internal/redisio"
)

// Start runs w as [Worker.Run] does, in a goroutine, and returns once callers
// know the worker, or with the reason why they can't, such as a wrong password or
// an OnStart that failed. While Redis is unreachable Start waits until ctx ends.
// The worker serves until ctx ends, the pool is closed, or stop is called: stop
// waits for the worker's clean end and returns what Run returned. Further calls of
// stop return the same.
func Start(ctx context.Context, w *Worker) (stop func() error, err error) {
	if w == nil {
		return nil, errors.New("bus: Start: nil worker")
	}
	if w.begun.Load() {
		return nil, fmt.Errorf("bus: worker %s was run before", w.ID())
	}
	return redisio.Start(ctx, "bus: worker "+w.ID(), w.Ready(), w.Run)
}
