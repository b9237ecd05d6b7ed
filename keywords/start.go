package keywords

import (
	"context"
	"fmt"
	"sync"
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
	running, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() {
		defer cancel()
		ended <- d.Run(running)
	}()
	select {
	case <-d.Ready():
		return sync.OnceValue(func() error {
			cancel()
			return <-ended
		}), nil
	case err := <-ended:
		if err == nil { // ctx ended or the pool was closed
			err = fmt.Errorf("keywords: dispatcher %s of %s stopped before it was ready: %w", d.cfg.Name, d.service.name, context.Cause(running))
		}
		return nil, err
	}
}
