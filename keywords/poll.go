package keywords

import (
	"context"
	"errors"
	"time"

	"github.com/heliograph/heliograph/internal/redisio"
)

// poll counts the heartbeat and refreshes what has a period, until stop is closed.
func (d *Dispatcher) poll(stop <-chan struct{}) {
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
			_ = d.set(ctx, name, beat, SetOptions{})
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
	redisio.WaitFor(&d.refreshers, d.cfg.Drain) // a hook may ignore its ctx
}

// refreshPeriodic refreshes a keyword that no client has asked to refresh.
func (d *Dispatcher) refreshPeriodic(ctx context.Context, s *served) {
	d.stats.refreshes.Add(1)
	err := d.withTurn(ctx, func() error {
		ctx, detach, err := d.lease.attach(ctx)
		if err != nil {
			return err
		}
		defer detach()
		st, err := d.runReadHooks(ctx, s)
		if err != nil || !st.write {
			return err
		}
		return d.commits.stage(st)
	})
	if err != nil {
		d.stats.refused.Add(1)
	}
	if err != nil && ctx.Err() == nil && !errors.Is(err, errLapsed) {
		d.log.Warn("keywords: periodic refresh failed", "keyword", s.def.Name, "error", err)
	}
}

// Schedule makes a dispatcher refresh a keyword once at the given time, by the clock of
// the dispatcher's machine. Nothing happens if the dispatcher does not run then.
func Schedule[T Type](d *Dispatcher, k Keyword[T], at time.Time) error {
	if err := k.check("Schedule"); err != nil {
		return err
	}
	s := d.served[k.Name()]
	if s == nil || k.Service() != d.service.name {
		return &Error{Code: CodeUnknownKeyword, Service: k.Service(), Keyword: k.Name()}
	}
	time.AfterFunc(time.Until(at), func() {
		d.mu.Lock()
		polls := d.refreshing
		if polls != nil {
			d.refreshers.Add(1)
		}
		d.mu.Unlock()
		if polls == nil {
			return
		}
		defer d.refreshers.Done()
		ctx, cancel := context.WithTimeout(polls, d.cfg.Drain)
		defer cancel()
		d.refreshPeriodic(ctx, s)
	})
	return nil
}
