package bus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// Retry says when a client makes a call again by itself, always within the
// deadline of the call. A call that may have been run is made again only if its
// method is idempotent (see [Method.Idempotent]).
type Retry struct {
	// Attempts is how often a call is made at most. 0: once, and three times if
	// the method is idempotent. Above 1, a call that gets ErrNoWorkers or
	// ErrQueueFull is made again too, whatever the method.
	Attempts int

	// MinPause is the pause before the second attempt after ErrNoWorkers or
	// ErrQueueFull. It doubles with each further one, up to MaxPause, and each
	// is shortened by up to half at random. 0: 50 ms and 2 s. After a loss there
	// is none.
	MinPause, MaxPause time.Duration
}

func (r Retry) complete(owner string) (Retry, error) {
	r.MinPause = cmp.Or(r.MinPause, 50*time.Millisecond)
	r.MaxPause = cmp.Or(r.MaxPause, max(r.MinPause, 2*time.Second))
	switch {
	case r.Attempts < 0:
		return r, fmt.Errorf("bus: %s.Retry.Attempts: %d is negative", owner, r.Attempts)
	case r.MinPause < 0:
		return r, fmt.Errorf("bus: %s.Retry.MinPause: %v is negative", owner, r.MinPause)
	case r.MaxPause < r.MinPause:
		return r, fmt.Errorf("bus: %s.Retry.MaxPause: %v is less than MinPause, %v", owner, r.MaxPause, r.MinPause)
	}
	return r, nil
}

// retrying is the policy at work on one call.
type retrying struct {
	Retry
	idempotent  bool
	limit, made int
	loss        error // of an attempt that may have been run
}

func (r Retry) begin(idempotent bool) retrying {
	limit := cmp.Or(r.Attempts, 1)
	if r.Attempts == 0 && idempotent {
		limit = 3
	}
	return retrying{Retry: r, idempotent: idempotent, limit: limit}
}

// results is how many results the attempts may have: each of an idempotent call
// a loss and a reply.
func (r *retrying) results() int {
	if r.idempotent {
		return 2 * r.limit
	}
	return r.limit
}

// after says whether to try again after an error, and after what pause. It puts
// the loss of an earlier attempt in the place of an error that would claim that
// the call was never run.
func (r *retrying) after(err *error) (pause time.Duration, again bool) {
	r.made++
	lost := errors.Is(*err, ErrWorkerLost) || errors.Is(*err, CodeStopped)
	unsent := errors.Is(*err, ErrNoWorkers) || errors.Is(*err, ErrQueueFull)
	switch {
	case lost && r.idempotent:
		r.loss = *err
	case unsent && r.loss != nil:
		*err = r.loss
		fallthrough
	case unsent && r.Attempts > 1:
		pause = r.MaxPause
		if doubled := r.MinPause << min(r.made-1, 20); doubled>>min(r.made-1, 20) == r.MinPause {
			pause = min(doubled, pause)
		}
		pause -= rand.N(pause/2 + 1)
	default:
		return 0, false
	}
	return pause, r.made < r.limit
}

// Breaker says when a client stops calling an address that does not answer:
// after Failures calls in a row that ended with ErrWorkerLost or
// context.DeadlineExceeded, calls get ErrBreakerOpen, unsent, until one that is
// let through each Cooldown is answered. What a worker answers, an [*Error]
// too, is no failure.
type Breaker struct {
	Failures int           // 0: off
	Cooldown time.Duration // 0: 5 s
}

func (b Breaker) complete() (Breaker, error) {
	b.Cooldown = cmp.Or(b.Cooldown, 5*time.Second)
	if b.Failures < 0 {
		return b, fmt.Errorf("bus: ClientConfig.Breaker.Failures: %d is negative", b.Failures)
	}
	if b.Cooldown < 0 {
		return b, fmt.Errorf("bus: ClientConfig.Breaker.Cooldown: %v is negative", b.Cooldown)
	}
	return b, nil
}

// breaker is the policy at work on one address.
type breaker struct {
	mu       sync.Mutex
	failures int       // in a row
	next     time.Time // when one is let through
}

// admit returns ErrBreakerOpen if a call may not be made now.
func (b *breaker) admit(cfg Breaker, now time.Time) error {
	if cfg.Failures == 0 {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failures < cfg.Failures {
		return nil
	}
	if now.Before(b.next) {
		return fmt.Errorf("%w: %d calls in a row were not answered", ErrBreakerOpen, b.failures)
	}
	b.next = now.Add(cfg.Cooldown)
	return nil
}

// note learns from the end of a call.
func (b *breaker) note(cfg Breaker, err error) {
	if cfg.Failures == 0 {
		return
	}
	var answered *Error
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case err == nil, errors.As(err, &answered):
		b.failures = 0
	case errors.Is(err, ErrWorkerLost), errors.Is(err, context.DeadlineExceeded):
		b.failures++
		b.next = time.Now().Add(cfg.Cooldown)
	}
}
