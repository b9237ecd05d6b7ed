package jobs

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/internal/redisio"
)

// Rate limits how often jobs begin. The zero value is no limit.
type Rate struct {
	// Jobs is how many jobs begin in Per at most.
	Jobs int
	// Per is the time in which they do. Defaults to 1 second.
	Per time.Duration
	// Burst is how many jobs may begin at once after a pause. Defaults to 1.
	Burst int
}

func (r Rate) complete(name string) (Rate, error) {
	if r == (Rate{}) {
		return r, nil
	}
	r.Per, r.Burst = cmp.Or(r.Per, time.Second), cmp.Or(r.Burst, 1)
	if r.Jobs <= 0 || r.Per <= 0 || r.Burst <= 0 || r.step() < 1 {
		return r, invalid("QueueConfig.%s: %d jobs in %v, bursts of %d", name, r.Jobs, r.Per, r.Burst)
	}
	return r, nil
}

// step returns the µs between two jobs, 0 for no limit.
func (r Rate) step() int64 {
	if r.Jobs == 0 {
		return 0
	}
	return r.Per.Microseconds() / int64(r.Jobs)
}

// limits reports whether the queue is limited over all processes.
func (cfg QueueConfig) limits() bool {
	return cfg.GlobalConcurrency > 0 || cfg.GroupConcurrency > 0 || cfg.Rate.Jobs > 0 || cfg.GroupRate.Jobs > 0
}

// limit makes fetch take jobs by luaTake from now on. It ends a read that waits for jobs
// without a group, as Halt does.
func (s *server) limit() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.limited || s.halted {
		return
	}
	s.limited = true
	_ = s.reader.Close()
	s.reader = redisio.Of(s.pool).Dedicated()
	signal(s.wake)
}

// source returns the client of fetch, and whether it takes jobs by luaTake.
func (s *server) source() (redis.UniversalClient, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reader, s.limited
}

// takeLimited begins up to n jobs, as far as limits permit, or waits until there may be
// some.
func (s *server) takeLimited(reader redis.UniversalClient, n int) error {
	ctx := context.Background()
	cfg := s.cfg
	answer, err := luaTake.Run(ctx, reader, s.q.keys(), group, s.host.ID(), min(n, takeCount), cfg.GlobalConcurrency, cfg.GroupConcurrency,
		cfg.Rate.step(), cfg.Rate.Burst, cfg.GroupRate.step(), cfg.GroupRate.Burst).Slice()
	if err != nil || len(answer) == 0 {
		return redisio.Normalize(ctx, err)
	}
	wait, _ := answer[0].(int64)
	if wait != 0 {
		return s.awaitJobs(reader, wait, answer[1:])
	}
	for i := 1; i+2 < len(answer); i += 3 {
		letter, _ := answer[i].(string)
		entry, _ := answer[i+1].(string)
		data, _ := answer[i+2].(string)
		p, ok := parsePlace(letter + entry)
		if ok {
			s.begin(p, map[string]any{"j": data}, 1)
		}
	}
	return nil
}

// takeCount is how many jobs luaTake gives at most.
const takeCount = 256

// awaitJobs waits for a number of ms, or, if that is negative, until one of the streams of
// which ids are the last ones has a newer entry.
func (s *server) awaitJobs(reader redis.UniversalClient, wait int64, ids []any) error {
	if wait > 0 {
		timer := time.NewTimer(min(length(wait), redisio.BlockTime))
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-s.wake: // a job has ended
		case <-s.halt:
		}
		return nil
	}
	keys := []string{s.q.ready(PriorityHigh), s.q.ready(PriorityNormal), s.q.ready(PriorityLow), s.q.wake()}
	for _, id := range ids {
		text, _ := id.(string)
		keys = append(keys, text)
	}
	err := reader.XRead(context.Background(), &redis.XReadArgs{
		Streams: keys, Count: 1, Block: min(redisio.BlockTime, s.host.Lease()/3),
	}).Err()
	if errors.Is(err, redis.Nil) {
		return nil
	}
	return err
}
