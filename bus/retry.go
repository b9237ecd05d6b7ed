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

// Retry says when a client makes a call again, within the deadline of the call. A call
// that may have run is made again only if its method is [Method.Idempotent].
type Retry struct {
	// Attempts is the largest number of attempts. If it is set above 1, any call that
	// ends with ErrNoWorkers or ErrQueueFull is made again. A late reply to one of the
	// seven attempts before the last still counts. Defaults to 1, and to 3 for
	// idempotent methods.
	Attempts int

	// MinPause is the pause before the second attempt after ErrNoWorkers or
	// ErrQueueFull. It doubles with each further attempt, up to MaxPause, and each
	// pause is shortened by up to half at random. After ErrWorkerLost there is no
	// pause. Default to 50 ms and 2 seconds.
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

// retrying is the state of a Retry for one call.
type retrying struct {
	Retry
	idempotent  bool
	limit, made int
	loss        error // of an attempt that may have run
}

func (r Retry) begin(idempotent bool) retrying {
	limit := cmp.Or(r.Attempts, 1)
	if r.Attempts == 0 && idempotent {
		limit = 3
	}
	return retrying{Retry: r, idempotent: idempotent, limit: limit}
}

// maxLate is the number of earlier attempts of a call whose replies still count. All
// of them may be answered at once.
const maxLate = 7

// results returns the number of results that may wait for the caller. A call that is not
// idempotent has one attempt at a time, with one result; an attempt of an idempotent
// call may have a loss and a reply.
func (r *retrying) results() int {
	if r.idempotent {
		return 2 * (min(r.limit, maxLate+2) + 1)
	}
	return 1
}

// isLoss reports whether an attempt ended without an answer, since its worker did.
func isLoss(err error) bool { return errors.Is(err, ErrWorkerLost) || errors.Is(err, CodeStopped) }

// after says whether to try again after an error, and after which pause. If an earlier
// attempt was lost, it replaces an error that says that the call never ran.
func (r *retrying) after(err *error) (pause time.Duration, again bool) {
	r.made++
	lost := isLoss(*err)
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

// Breaker says when a client stops calling an address that does not answer. After
// Failures calls in a row that ended with ErrWorkerLost or context.DeadlineExceeded,
// calls end with ErrBreakerOpen, unsent. One call per Cooldown is let through, until
// one is answered; an [*Error] is an answer, and so is the begin of a stream. A [Send],
// which has no answer, is let through beside that call.
type Breaker struct {
	Failures int           // Defaults to no breaker
	Cooldown time.Duration // Defaults to 5 seconds
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

// breaker is the state of a Breaker for one address.
type breaker struct {
	mu       sync.Mutex
	failures int       // in a row
	next     time.Time // when a call is let through
}

// admit returns ErrBreakerOpen if a call may not be made now. The end of a call that was
// admitted must be noted, or the call released, unless it has no reply: then it finds
// out nothing, and is let through beside the one that does.
func (b *breaker) admit(cfg Breaker, now time.Time, replied bool) error {
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
	if replied {
		b.next = now.Add(cfg.Cooldown)
	}
	return nil
}

// release notes that an admitted call has found out nothing of the workers: the next one
// may.
func (b *breaker) release(cfg Breaker) {
	if cfg.Failures == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.next = time.Time{}
}

// isOpen reports whether calls are refused.
func (b *breaker) isOpen(cfg Breaker) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return cfg.Failures > 0 && b.failures >= cfg.Failures
}

// note counts the end of a call.
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
	default:
		b.next = time.Time{} // as release
	}
}
