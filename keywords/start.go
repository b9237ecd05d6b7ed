package keywords

import (
	"context"
	"fmt"

	"github.com/heliograph/heliograph/internal/redisio"
)

// Start runs d as [Dispatcher.Run] does, in a goroutine, and returns once the
// dispatcher serves, or with the reason why it does not, such as a wrong password
// or [ErrServed] with DispatcherConfig.Refuse. Without Refuse Start waits while
// another dispatcher of that name lives, and while Redis is unreachable, until ctx
// ends. The dispatcher serves until ctx ends, the pool is closed, or stop is
// called: stop waits for its end and returns what Run returned. Further calls of
// stop return the same.
func Start(ctx context.Context, d *Dispatcher) (stop func() error, err error) {
	if d.begun.Load() {
		return nil, fmt.Errorf("%s was run before", d.label())
	}
	stop, err = redisio.Start(ctx, d.label(), d.Ready(), d.Run)
	if err != nil && ctx.Err() != nil {
		err = redisio.Because(err, d.trouble.get())
	}
	return stop, err
}
