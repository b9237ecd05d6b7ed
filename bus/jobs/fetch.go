package jobs

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/internal/redisio"
)

// fetch takes jobs while slots are free, until Halt.
func (s *server) fetch() {
	for try := 0; ; {
		n := s.room()
		if n == 0 {
			return
		}
		reader, limited := s.source()
		err := s.take(reader, limited, n)
		if err == nil {
			try = 0
			continue
		}
		s.mu.Lock()
		s.adopt = true // the answer may have had entries
		changed := limited != s.limited
		s.mu.Unlock()
		if changed {
			continue
		}
		if redis.HasErrorPrefix(err, "NOGROUP") {
			_, _ = s.beat(0) // makes the groups; keep reports what is wrong
		}
		if !s.troubled(err, s.halt, &try) {
			return
		}
	}
}

// room waits until jobs may be taken, and returns how many, or 0 after Halt.
func (s *server) room() int {
	for {
		select {
		case <-s.halt:
			return 0
		default:
		}
		s.mu.Lock()
		n := s.free
		if !s.valid || !s.following || s.paused {
			n = 0
		}
		s.asked = s.lapses
		s.mu.Unlock()
		if n > 0 {
			return n
		}
		select {
		case <-s.halt:
			return 0
		case <-s.wake:
		}
	}
}

// take begins up to n jobs: those of dead workers first.
func (s *server) take(reader redis.UniversalClient, limited bool, n int) error {
	if s.orphans.Load() {
		if _, err := s.beat(n); err != nil {
			return err
		}
	}
	s.mu.Lock()
	adopt := s.adopt
	s.adopt = false
	s.mu.Unlock()
	if adopt {
		return s.adoptEntries(reader, n)
	}
	if limited {
		return s.takeLimited(reader, n)
	}
	left := n
	for _, p := range byRank {
		if left == 0 {
			return nil
		}
		got, err := s.read(reader, left, -1, p)
		if err != nil {
			return err
		}
		left -= got
	}
	if left < n {
		return nil
	}
	// Each stream may answer with as many as asked for.
	_, err := s.read(reader, max(1, n/len(byRank)), min(redisio.BlockTime, s.host.Lease()/3), byRank[:]...)
	return err
}

// read takes up to n new entries of each stream, waits up to block for some (negative:
// not), and begins them. It returns how many there were.
func (s *server) read(reader redis.UniversalClient, n int, block time.Duration, from ...Priority) (got int, err error) {
	streams := make([]string, 0, 2*len(from))
	of := make(map[string]Priority, len(from))
	for _, p := range from {
		streams = append(streams, s.q.ready(p))
		of[s.q.ready(p)] = p
	}
	for range from {
		streams = append(streams, ">")
	}
	answer, err := reader.XReadGroup(context.Background(), &redis.XReadGroupArgs{
		Group: group, Consumer: s.host.ID(), Streams: streams, Count: int64(n), Block: block,
	}).Result()
	if errors.Is(err, redis.Nil) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	paused := s.isPaused()
	for _, stream := range answer {
		var back []string
		for _, entry := range stream.Messages {
			got++
			if paused {
				back = append(back, entry.ID)
				continue
			}
			s.begin(place{of[stream.Stream], entry.ID}, entry.Values, 1)
		}
		if err := s.giveBack(context.Background(), of[stream.Stream], back); err != nil {
			return got, err
		}
	}
	return got, nil
}

// adoptEntries begins up to n jobs of entries that are this worker's, and that it has
// not received: it has claimed them, or an answer was lost.
func (s *server) adoptEntries(reader redis.UniversalClient, n int) error {
	ctx := context.Background()
	for _, p := range all {
		unknown, all, err := s.unknown(ctx, reader, p, n+1)
		if err != nil {
			return err
		}
		for _, entry := range unknown {
			if n == 0 {
				all = false
				break
			}
			stream := s.q.ready(p)
			found, err := reader.XRange(ctx, stream, entry.ID, entry.ID).Result()
			if err != nil {
				return err
			}
			if len(found) == 0 { // its job was cancelled
				if err := reader.XAck(ctx, stream, group, entry.ID).Err(); err != nil {
					return err
				}
				continue
			}
			s.begin(place{p, entry.ID}, found[0].Values, int(entry.RetryCount))
			n--
		}
		if !all {
			s.mu.Lock()
			s.adopt = true
			s.mu.Unlock()
		}
	}
	return nil
}

// unknown returns entries of a stream that are this worker's and that it has not begun,
// and whether that is all of them, if there are fewer than n.
func (s *server) unknown(ctx context.Context, client redis.UniversalClient, p Priority, n int) (entries []redis.XPendingExt, all bool, err error) {
	s.mu.Lock()
	count := len(s.runs) + n
	s.mu.Unlock()
	mine, err := client.XPendingExt(ctx, &redis.XPendingExtArgs{
		Stream: s.q.ready(p), Group: group, Start: "-", End: "+", Count: int64(count), Consumer: s.host.ID(),
	}).Result()
	if err != nil {
		return nil, false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, entry := range mine {
		if s.runs[place{p, entry.ID}] == nil {
			entries = append(entries, entry)
		}
	}
	return entries, len(mine) < count, nil
}

// giveBack gives entries to whichever worker has room. Their attempt does not count.
func (s *server) giveBack(ctx context.Context, p Priority, entries []string) error {
	if len(entries) == 0 {
		return nil
	}
	args := []any{group, s.host.ID(), returned}
	for _, entry := range entries {
		args = append(args, entry)
	}
	err := luaReturn.Run(ctx, s.writer, []string{s.q.ready(p)}, args...).Err()
	if err == nil {
		s.orphans.Store(true)
	}
	return redisio.Normalize(ctx, err)
}

// returnUnknown gives back the entries that this worker has not begun.
func (s *server) returnUnknown(ctx context.Context) error {
	for _, p := range all {
		for done := false; !done; {
			unknown, got, err := s.unknown(ctx, s.plain, p, 100)
			if redis.HasErrorPrefix(err, "NOGROUP") {
				break
			}
			if err != nil {
				return redisio.Normalize(ctx, err)
			}
			ids := make([]string, len(unknown))
			for i, entry := range unknown {
				ids[i] = entry.ID
			}
			if err := s.giveBack(ctx, p, ids); err != nil {
				return err
			}
			done = got
		}
	}
	return nil
}
