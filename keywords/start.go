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
		return nil, fmt.Errorf("keywords: dispatcher %s of %s was run before", d.cfg.Name, d.service.name)
	}
	return redisio.Start(ctx, fmt.Sprintf("keywords: dispatcher %s of %s", d.cfg.Name, d.service.name), d.Ready(), d.Run)
}
