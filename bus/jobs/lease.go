package jobs

import (
	"context"
	"time"

	"github.com/heliograph/heliograph/internal/redisio"
)

// keep renews the lease three times in its length until End, and makes the queue known.
func (s *server) keep() {
	var announced time.Time
	for try := 0; ; {
		_, err := s.beat(0)
		if err == nil && time.Since(announced) > announceTime {
			ctx, cancel := context.WithTimeout(context.Background(), s.host.Lease()/3)
			err = announce(ctx, s.pool, s.plain, s.q)
			cancel()
			announced = time.Now()
		}
		switch {
		case err == nil:
			try = 0
			select {
			case <-s.quit:
				return
			case <-time.After(s.host.Lease() / 3):
			}
		case !s.troubled(err, s.quit, &try):
			return
		}
	}
}

// announceTime is how often a worker makes its queue known.
const announceTime = time.Hour

// beat renews the lease, and claims up to room jobs of workers whose leases have ended.
// It returns how many it claimed.
func (s *server) beat(room int) (claimed int64, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), s.host.Lease()/3)
	defer cancel()
	if err := s.clock.Sync(ctx, s.plain); err != nil {
		return 0, err
	}
	keys := append([]string{s.q.alive()}, s.q.streams()...)
	sent := time.Now()
	answer, err := luaBeat.Run(ctx, s.plain, keys, s.host.ID(), s.host.Lease().Milliseconds(), group, room).Int64Slice()
	if err != nil || len(answer) < 3 {
		return 0, redisio.Normalize(ctx, err)
	}
	s.orphans.Store(answer[1] > 0)
	s.mu.Lock()
	defer s.mu.Unlock()
	// Others compare with the time at which Redis got the renewal: the lease ends here
	// before it ends there, by a tenth for handlers to notice.
	s.lapse.Reset(time.Until(sent.Add(s.host.Lease() * 9 / 10)))
	if !s.valid || answer[2] == 0 {
		s.valid, s.adopt = true, true
	}
	if answer[0] > 0 {
		s.adopt = true
	}
	if s.adopt || answer[1] > 0 {
		signal(s.wake)
	}
	return answer[0], nil
}

// loseLease cancels all jobs: others may claim them soon.
func (s *server) loseLease() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.valid = false
	s.lapses++
	for _, r := range s.runs {
		r.lost = true
		r.cancel(ErrLeaseLost)
	}
}
