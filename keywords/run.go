package keywords

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/heliograph/heliograph/internal/redisio"
)

// stopTimeout is what a dispatcher that ends has for its last words to Redis.
const stopTimeout = 2 * time.Second

// Run serves until ctx ends or the pool is closed, and returns nil. It waits until no
// other dispatcher of that name lives, unless DispatcherConfig.Refuse is set: then it
// returns [ErrServed]. While Redis is unreachable for longer than the lease, no hook
// runs; a dispatcher that finds afterwards that another one has taken over returns
// [CodeFenced]. A dispatcher runs once.
func (d *Dispatcher) Run(ctx context.Context) error {
	if !d.begun.CompareAndSwap(false, true) {
		return fmt.Errorf("%s was run before", d.label())
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer close(d.runEnded)
	disown, err := redisio.Of(d.pool).Own(func() error { cancel(); <-d.runEnded; return nil })
	if err != nil {
		return redisio.Wrap(d.label(), err)
	}
	defer disown()
	client := redisio.Of(d.pool).Dedicated()
	defer client.Close()
	d.lease.client, d.definitions.client, d.external.client = client, client, client
	d.commits.client, d.commits.clustered = client, isCluster(client)

	if err := d.lease.acquire(ctx); err != nil {
		return unlessEnded(ctx, err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		defer cancel()
		d.lease.release(ctx)
	}()
	defer d.lease.end(ErrClosed)
	committed, err := d.takeOver(ctx)
	if err != nil {
		return unlessEnded(ctx, err)
	}
	defer d.commits.retire(nil)
	close(d.loaded)
	stopRenewing := background(d.renew)
	defer stopRenewing()
	stopListening := d.external.listen(ctx)
	defer stopListening()
	stopCommitting := background(d.commits.run)
	defer stopCommitting()
	select {
	case <-committed: // an error has ended it
	case <-ctx.Done():
		return nil
	}
	defer d.setStatus("stopped")
	d.setStatus("ready")
	err = d.work(ctx)
	if why := d.commits.failed(); why != nil && ctx.Err() == nil {
		return why
	}
	return err
}

// takeOver reads what persists, publishes the definitions, and has all values committed
// under the tenure that has begun: then it sends on committed.
func (d *Dispatcher) takeOver(ctx context.Context) (committed <-chan error, err error) {
	err = d.owning(func() (err error) { committed, err = d.commits.load(ctx, d); return err })
	if err == nil {
		err = d.owning(func() error { return d.definitions.publish(ctx) })
	}
	return committed, err
}

// owning does what needs the lease, and does it once more where the lease has expired
// and no other dispatcher has acquired it since.
func (d *Dispatcher) owning(do func() error) error {
	err := do()
	if isUnowned(err) {
		if _, err = d.lease.renew(d.lease.client, d.commits.committed); err == nil {
			err = do()
		}
	}
	if isFenced(err) {
		return d.lease.fenced()
	}
	return err
}

// work answers calls and refreshes what has a period, until ctx ends or nothing can be
// committed any more.
func (d *Dispatcher) work(ctx context.Context) error {
	serving, stopServing := context.WithCancel(ctx)
	defer stopServing()
	ran := make(chan error, 1)
	go func() { ran <- d.worker.Run(serving) }()
	stopPolling := background(d.poll)
	select {
	case <-d.worker.Ready():
		close(d.ready)
		select {
		case <-ctx.Done():
		case <-d.commits.ended:
		}
	case <-ctx.Done():
	case <-d.commits.ended:
	case err := <-ran:
		ran <- err
	}
	close(d.stopping)
	endMoves := time.AfterFunc(d.cfg.Drain, func() { d.moves.end(errStopping) })
	defer endMoves.Stop()
	stopPolling()
	stopServing()
	err := <-ran // once all calls were answered, those of moves too
	d.moves.stop()
	return err
}

// renew renews the lease until stop is closed or another dispatcher has acquired it,
// over a connection of its own: no commit may delay it. It notices when Redis has lost
// what was committed.
func (d *Dispatcher) renew(stop <-chan struct{}) {
	client := redisio.Of(d.pool).Dedicated()
	defer client.Close()
	for {
		select {
		case <-stop:
			return
		case <-d.commits.ended:
			return
		case <-time.After(d.cfg.Lease / 3):
		}
		ctx, cancel := context.WithTimeout(context.Background(), d.cfg.Lease/3)
		_ = d.clock.Sync(ctx, client)
		cancel()
		switch lost, err := d.lease.renew(client, d.commits.committed); {
		case isFenced(err):
			d.lease.end(d.lease.fenced())
			d.commits.fail(d.lease.fenced())
			return
		case err == nil && lost:
			d.commits.lose()
		} // the committer logs any other error
	}
}

// unlessEnded hides an error behind the end of ctx, which is no error of Run.
func unlessEnded(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// setStatus sets the status keyword.
func (d *Dispatcher) setStatus(status string) {
	if d.cfg.Status == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	if err := d.set(ctx, d.cfg.Status, status, SetOptions{}); err != nil && !errors.Is(err, CodeFenced) {
		d.log.Warn("keywords: the status keyword was not set", "error", err)
	}
}

// background runs a task until the function that it returns is called, which waits for
// its end.
func background(task func(stop <-chan struct{})) (end func()) {
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		task(stop)
	}()
	return func() {
		close(stop)
		<-ended
	}
}
