package keywords

import (
	"context"
	"fmt"
	"time"

	"github.com/heliograph/heliograph/internal/redisio"
)

// Run serves until ctx ends or the pool is closed, and returns nil. It waits
// until no other dispatcher of that name lives, unless DispatcherConfig.Refuse
// is set: then it returns [ErrServed]. One that loses its lease, since it was
// cut off or stopped for too long, returns [CodeFenced]. A dispatcher runs once.
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
	d.client = redisio.Of(d.pool).Dedicated()
	defer d.client.Close()
	d.clustered = isCluster(d.client)

	if err := d.acquire(ctx); err != nil {
		return ended(ctx, err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		defer cancel()
		d.release(ctx)
	}()
	var committed chan error
	err = d.withLease(func() (err error) { committed, err = d.load(ctx); return err })
	if err == nil {
		err = d.withLease(func() error { return d.publish(ctx) })
	}
	if err != nil {
		return ended(ctx, err)
	}
	defer d.refuseStaged()
	close(d.loaded)
	stopKeeping := background(d.renewLease)
	defer stopKeeping()
	stopListening := d.listen(ctx)
	defer stopListening()
	stopCommitting := background(d.commit)
	defer stopCommitting()
	select {
	case <-committed: // an error has ended it
	case <-ctx.Done():
		return nil
	}
	defer d.setStatus("stopped")
	d.setStatus("ready")

	serving, stopServing := context.WithCancel(ctx)
	defer stopServing()
	ran := make(chan error, 1)
	go func() { ran <- d.worker.Run(serving) }()
	stopTicking := background(d.tick)
	select {
	case <-d.worker.Ready():
		close(d.ready)
		select {
		case <-ctx.Done():
		case <-d.ended:
		}
	case <-ctx.Done():
	case <-d.ended:
	case err = <-ran:
		ran <- err
	}
	close(d.stopped)
	stopTicking()
	stopServing()
	err = <-ran
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.lost != nil && ctx.Err() == nil {
		return d.lost
	}
	return err
}

// stopTimeout is what a dispatcher that ends has for its last words.
const stopTimeout = 2 * time.Second

// ended hides an error behind the end of ctx, which is no error of Run.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// sign sets the status keyword.
func (d *Dispatcher) setStatus(status string) {
	if d.cfg.Status == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	if err := d.set(ctx, d.cfg.Status, status); err != nil {
		d.log.Warn("keywords: the status keyword was not set", "error", err)
	}
}

// tick counts the heartbeat and refreshes what has a period.
func (d *Dispatcher) tick(stop <-chan struct{}) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	d.mu.Lock()
	d.refreshing = ctx
	d.mu.Unlock()
	every := func(period time.Duration, do func()) {
		d.refreshers.Go(func() {
			ticker := time.NewTicker(period)
			defer ticker.Stop()
			for ctx.Err() == nil {
				select {
				case <-ticker.C:
					do()
				case <-ctx.Done():
				}
			}
		})
	}
	if name := d.cfg.Heartbeat; name != "" {
		beat := int64(0)
		every(time.Second, func() {
			beat++
			_ = d.set(ctx, name, beat)
		})
	}
	for _, s := range d.served {
		if s.hooks.Period > 0 {
			every(s.hooks.Period, func() { d.refreshPeriodic(ctx, s) })
		}
	}
	<-stop
	d.mu.Lock()
	d.refreshing = nil
	d.mu.Unlock()
	cancel()
	polled := make(chan struct{})
	go func() {
		defer close(polled)
		d.refreshers.Wait()
	}()
	select {
	case <-polled:
	case <-time.After(d.cfg.Drain): // a hook that does not heed its ctx
	}
}

// poll refreshes a keyword.
func (d *Dispatcher) refreshPeriodic(ctx context.Context, s *served) {
	d.stats.refreshes.Add(1)
	err := d.withTurn(ctx, func() error {
		st, err := d.runReadHooks(ctx, s)
		if err != nil || !st.write {
			return err
		}
		return d.stage([]staged{st})
	})
	if err != nil {
		d.stats.refused.Add(1)
	}
	if err != nil && ctx.Err() == nil {
		d.log.Warn("keywords: periodic refresh failed", "keyword", s.def.Name, "error", err)
	}
}

// background runs a task until the function that it returns is called, which
// waits for its end.
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
