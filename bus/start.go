package bus

import (
	"context"
	"errors"
	"fmt"

	"github.com/heliograph/heliograph/internal/redisio"
)

// Start runs w as [Worker.Run] does, in a goroutine, and returns once callers
// know the worker, or with the reason why they can't, such as a wrong password, a
// missing right or an OnStart that failed. While Redis is unreachable Start waits
// until ctx ends. The worker serves until ctx ends, the pool is closed, or stop is
// called. Stop waits until Run has returned, and returns its error; further calls
// return the same.
func Start(ctx context.Context, w *Worker) (stop func() error, err error) {
	if w == nil {
		return nil, errors.New("bus: Start: nil worker")
	}
	if w.begun.Load() {
		return nil, fmt.Errorf("bus: worker %s was run before", w.ID())
	}
	name := "bus: worker " + w.ID()
	stop, err = redisio.Start(ctx, name, w.Ready(), w.Run)
	if err != nil && ctx.Err() != nil {
		err = redisio.Wrap(name+" stopped before it was ready", redisio.Because(ctx.Err(), w.link.reason()))
	}
	return stop, err
}
