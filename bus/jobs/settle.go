package jobs

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/internal/redisio"
)

// settle tells Redis the outcomes of jobs, in batches, until End. All that it does may be
// repeated.
func (s *server) settle() {
	for try := 0; ; {
		batch := s.nextOutcomes()
		if len(batch) == 0 {
			select {
			case <-s.settled:
				continue
			case <-s.quit:
			}
			if batch = s.nextOutcomes(); len(batch) == 0 {
				return
			}
		}
		for err := s.tell(batch); err != nil; err = s.tell(batch) {
			if !s.troubled(err, s.ending.Done(), &try) {
				return
			}
		}
		try = 0
		s.forget(batch)
	}
}

// settleCount is how many outcomes Redis is told at a time.
const settleCount = 256

// nextOutcomes takes the oldest outcomes.
func (s *server) nextOutcomes() []*run {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := min(len(s.outcomes), settleCount)
	batch := append([]*run(nil), s.outcomes[:n]...)
	s.outcomes = append(s.outcomes[:0], s.outcomes[n:]...)
	return batch
}

// forget removes jobs of which Redis knows the outcome.
func (s *server) forget(batch []*run) {
	s.mu.Lock()
	for _, r := range batch {
		delete(s.runs, r.place)
		if s.byID[r.id] == r {
			delete(s.byID, r.id)
		}
		if !r.released {
			s.free++
		}
	}
	s.mu.Unlock()
	signal(s.wake)
}

// tell tells Redis a batch of outcomes.
func (s *server) tell(batch []*run) error {
	ctx, cancel := context.WithTimeout(s.ending, redisio.BlockTime)
	defer cancel()
	if err := s.tellDone(ctx, batch); err != nil {
		return redisio.Normalize(ctx, err)
	}
	if err := s.tellFinished(ctx, batch); err != nil {
		return redisio.Normalize(ctx, err)
	}
	for _, r := range batch {
		var err error
		switch r.end {
		case endLater:
			err = s.tellFailed(ctx, r, max(r.delay, 0))
		case endDead:
			err = s.tellFailed(ctx, r, -1)
		case endBack:
			err = s.giveBack(ctx, r.place.priority, []string{r.place.entry})
		}
		if err != nil {
			return redisio.Normalize(ctx, err)
		}
	}
	return nil
}

// tellDone removes the entries of jobs that were done: in one transaction, since an
// entry that is acknowledged and not deleted would never be seen again.
func (s *server) tellDone(ctx context.Context, batch []*run) error {
	var done [streams][]string
	var listed, checkpoints []string
	var kept []*run
	for _, r := range batch {
		if r.end != endDone {
			continue
		}
		if r.checkpointed {
			checkpoints = append(checkpoints, s.q.checkpoint(r.id))
		}
		if r.rec.watched() {
			continue
		}
		done[r.place.priority] = append(done[r.place.priority], r.place.entry)
		if r.listed {
			listed = append(listed, r.id)
		}
		if r.result != nil {
			kept = append(kept, r)
		}
	}
	_, err := s.writer.TxPipelined(ctx, func(tx redis.Pipeliner) error {
		for p, entries := range done {
			if len(entries) > 0 {
				tx.XAck(ctx, s.q.ready(Priority(p)), group, entries...)
				tx.XDel(ctx, s.q.ready(Priority(p)), entries...)
			}
		}
		if len(listed) > 0 {
			tx.HDel(ctx, s.q.at(), listed...)
		}
		if len(checkpoints) > 0 {
			tx.Del(ctx, checkpoints...)
		}
		for _, r := range kept {
			tx.Set(ctx, s.q.done(r.id), r.result, length(max(r.rec.Keep, r.rec.Remember)))
		}
		return nil
	})
	return err
}

// tellFinished removes the entries of jobs whose end others wait for.
func (s *server) tellFinished(ctx context.Context, batch []*run) error {
	var results []string
	args := []any{group}
	for _, r := range batch {
		if r.end == endDone && r.rec.watched() {
			results = append(results, s.q.done(r.id), s.q.flow(r.rec.Flow))
			args = append(args, r.place.priority.letter(), r.place.entry, r.id, r.rec.Unique, r.result, max(r.rec.Keep, r.rec.Remember), node(r.rec.Flow, r.id))
		}
	}
	if len(results) == 0 {
		return nil
	}
	return luaFinish.Run(ctx, s.writer, s.q.keys(results...), args...).Err()
}

// tellFailed moves a job to those that are due later, or to the dead letters if delay is
// negative.
func (s *server) tellFailed(ctx context.Context, r *run, delay time.Duration) error {
	data, err := r.rec.pack()
	if err != nil {
		return err
	}
	wait := int64(-1)
	if delay >= 0 {
		wait = delay.Milliseconds()
	}
	removed, err := luaSettle.Run(ctx, s.writer, s.q.keys(s.q.flow(r.rec.Flow)), group, s.host.ID(), r.place.priority.letter(), r.place.entry,
		r.id, r.rec.member(), wait, data, s.cfg.MaxDead, r.rec.Unique, node(r.rec.Flow, r.id)).Int64()
	if err == nil && removed > 0 {
		s.noise.Warn(s.log, "jobs: old dead letters were removed: the queue has more than QueueConfig.MaxDead", "removed", removed)
	}
	return err
}
