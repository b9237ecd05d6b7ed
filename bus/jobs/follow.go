package jobs

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/internal/redisio"
)

// follow moves due jobs to their streams and reads notes, until Halt.
func (s *server) follow() {
	last, try := "", 0
	for {
		wait, err := s.promote()
		if err == nil && last == "" {
			if last, err = s.lastNote(); err == nil {
				s.beginTaking()
			}
		} else if err == nil {
			last, err = s.readNotes(last, wait)
		}
		if err == nil {
			try = 0
		} else if !s.troubled(err, s.halt, &try) {
			return
		}
		select {
		case <-s.halt:
			return
		default:
		}
	}
}

// promote moves the jobs that are due, runs the schedules that are, and returns how long
// until the next is.
func (s *server) promote() (wait time.Duration, err error) {
	ctx := context.Background()
	keys := s.q.keys()
	for {
		answer, err := luaPromote.Run(ctx, s.watcher, keys).Int64Slice()
		if err != nil || len(answer) < 5 {
			return 0, redisio.Normalize(ctx, err)
		}
		s.setPaused(answer[2] == 1)
		if answer[4] == 1 {
			s.limit()
		}
		job, schedule := answer[1], answer[3]
		if schedule == 0 {
			if err := s.fireDue(ctx); err != nil {
				return 0, err
			}
		}
		if job != 0 && schedule != 0 {
			return min(untilDue(job), untilDue(schedule)), nil
		}
	}
}

// untilDue returns how long follow may wait for what is due in a number of ms, -1 for never.
func untilDue(ms int64) time.Duration {
	if ms < 0 {
		return followTime
	}
	return min(length(ms), followTime)
}

// followTime is how long follow waits for notes at a time.
const followTime = redisio.BlockTime

func (s *server) setPaused(paused bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.paused != paused {
		s.paused = paused
		signal(s.wake)
	}
}

func (s *server) isPaused() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.paused
}

// lastNote returns the id of the last note. Earlier ones were for jobs of that time.
func (s *server) lastNote() (string, error) {
	notes, err := s.watcher.XRevRangeN(context.Background(), s.q.notes(), "+", "-", 1).Result()
	if err != nil {
		return "", err
	}
	if len(notes) == 0 {
		return "0-0", nil
	}
	return notes[0].ID, nil
}

// beginTaking lets fetch begin jobs: a note about one is read from now on.
func (s *server) beginTaking() {
	s.mu.Lock()
	s.following = true
	s.mu.Unlock()
	signal(s.wake)
}

// readNotes waits for notes after the one with the id last, and handles them.
func (s *server) readNotes(last string, wait time.Duration) (string, error) {
	notes, err := s.watcher.XRead(context.Background(), &redis.XReadArgs{
		Streams: []string{s.q.notes(), last}, Count: 128, Block: max(wait, time.Millisecond),
	}).Result()
	if err != nil {
		if errors.Is(err, redis.Nil) {
			err = nil
		}
		return last, err
	}
	for _, note := range notes[0].Messages {
		last = note.ID
		if id, ok := note.Values["cancel"].(string); ok {
			s.cancelJob(id)
		}
		if _, ok := note.Values["grouped"]; ok {
			s.limit()
		}
	}
	return last, nil
}

func (s *server) cancelJob(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.byID[id]; r != nil {
		r.cancelled = true
		r.cancel(ErrCancelled)
	}
}
