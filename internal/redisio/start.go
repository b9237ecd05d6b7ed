package redisio

import (
	"context"
	"fmt"
	"sync"
)

// Start calls run in a goroutine and returns once ready is closed, or with the
// reason why run ended before. Stop cancels run's context, waits for run and
// returns what run returned; further calls return the same. Name says in errors
// what was started, such as "bus: worker ID".
func Start(ctx context.Context, name string, ready <-chan struct{}, run func(context.Context) error) (stop func() error, err error) {
	running, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() {
		err := run(running)
		cancel()
		ended <- err
	}()
	select {
	case <-ready:
		return sync.OnceValue(func() error {
			cancel()
			return <-ended
		}), nil
	case err := <-ended:
		if err == nil { // ctx ended or the pool was closed
			err = fmt.Errorf("%s stopped before it was ready: %w", name, context.Cause(running))
		}
		return nil, err
	}
}
