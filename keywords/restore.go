package keywords

import (
	"context"
	"maps"
	"slices"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/internal/redisio"
)

// lose notes that Redis has lost commits of this tenure.
func (c *committer) lose() {
	c.mu.Lock()
	c.lost = true
	c.mu.Unlock()
	signal(c.more)
}

func (c *committer) isLost() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lost
}

// resume begins another tenure, in which all values are written again.
func (c *committer) resume() error {
	ctx, cancel := context.WithTimeout(context.Background(), redisio.BlockTime)
	defer cancel()
	if _, err := c.lease.begin(ctx, 0); err != nil {
		return err
	}
	if err := c.definitions.publish(ctx); err != nil {
		return err
	}
	logged, err := c.readLogged(ctx)
	if err != nil {
		return err
	}
	c.restore(logged)
	return nil
}

// readLogged reads the revision of the newest line of each history.
func (c *committer) readLogged(ctx context.Context) (map[*served]Revision, error) {
	lines := make(map[*served]*redis.XMessageSliceCmd)
	_, _ = c.client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for _, s := range c.served {
			if s.def.History > 0 {
				lines[s] = pipe.XRevRangeN(ctx, c.lease.service.log(s.def.Name), "+", "-", 1)
			}
		}
		return nil
	})
	logged := make(map[*served]Revision, len(lines))
	for s, cmd := range lines {
		newest, err := cmd.Result()
		if err != nil && !redis.HasErrorPrefix(err, "WRONGTYPE") {
			return nil, redisio.Normalize(ctx, err)
		}
		for _, line := range newest {
			if r, _, err := readLine(s.def.Name, line); err == nil {
				logged[s] = r.rev
			}
		}
	}
	return logged, nil
}

// restore has all values committed again, under the tenure that has begun, before
// those that are staged. A batch that may have been committed in the tenure before
// comes first, so that no reader sees an older value after a newer one: the newest
// value of each of its keywords counts, and a writer of an earlier one is told that
// the end is unknown. Logged is what readLogged returned. It decides whether a line of
// that batch was written; lines that are known to have been written count even where
// Redis has lost them. A history whose newest line is lost, or that has none yet, gets a
// line of the value that is committed again, by which its readers learn of the gap.
func (c *committer) restore(logged map[*served]Revision) {
	var superseded []staged
	c.mu.Lock()
	for _, st := range slices.Backward(c.batch) {
		if st.logs() {
			st.served.logged = st.prev
		}
	}
	for _, s := range c.served {
		if logged[s].Compare(s.logged) > 0 {
			s.logged = logged[s]
		}
	}
	c.epoch, c.n, c.lost = c.lease.number(), 0, false
	c.stats.epochs.Add(1)
	newest := make(map[*served]int) // index in batch
	for i := range c.batch {
		if st := &c.batch[i]; st.write {
			newest[st.served] = i
		}
	}
	var again []staged
	for i := range c.batch {
		st := c.batch[i]
		switch {
		case st.write && newest[st.served] != i:
			if !st.again {
				c.waiting--
				c.bytes -= st.size()
				st.served.waiting--
				superseded = append(superseded, st)
			}
		case !st.write || !st.again:
			st.with = 0
			again = append(again, st)
		}
	}
	for i := range again {
		again[i].with = len(again) - 1 - i
	}
	for _, name := range slices.Sorted(maps.Keys(c.served)) {
		s := c.served[name]
		if at, ok := newest[s]; s.committed.at != 0 && (!ok || c.batch[at].again) {
			lost := logged[s] != s.logged || s.logged == Revision{}
			again = append(again, staged{served: s, rec: s.committed, write: true, again: true, relog: lost})
		}
	}
	for _, st := range c.staged { // but for those of a restore that was not completed
		if !st.again {
			again = append(again, st)
		}
	}
	c.batch, c.staged = c.batch[:0], again
	c.mu.Unlock()
	for i := range superseded {
		c.answer(&superseded[i], ErrIndeterminate)
	}
	signal(c.more)
}

// load reads the values that an earlier dispatcher has left, and has them restored. A
// keyword that does not persist, or whose value is none of it any more, begins with
// its initial value, or with none. It returns a channel that receives when all is
// committed.
func (c *committer) load(ctx context.Context, d *Dispatcher) (committed <-chan error, err error) {
	values := make(map[*served]*redis.SliceCmd)
	_, err = c.client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for _, s := range c.served {
			if s.def.Persist {
				values[s] = pipe.HMGet(ctx, s.key, valueFields...)
			}
		}
		return nil
	})
	if err != nil && !redis.HasErrorPrefix(err, "WRONGTYPE") {
		return nil, redisio.Normalize(ctx, err)
	}
	var initial []staged
	var unfit []string
	for name, s := range c.served {
		if cmd := values[s]; cmd != nil {
			if err := cmd.Err(); err != nil && !redis.HasErrorPrefix(err, "WRONGTYPE") {
				return nil, redisio.Normalize(ctx, err)
			}
			rec, ok := readRecord(name, cmd.Val())
			if v, err := s.def.Parse(rec.text); ok && err == nil && s.def.Check(v) == nil {
				c.mu.Lock()
				s.now, s.canonical, s.committed = rec, v, rec
				c.mu.Unlock()
				if s.shows {
					if ended, ok := interrupted(v); ok {
						initial = append(initial, d.newValue(s, ended, rec, v, ""))
					}
				}
				continue
			}
		}
		if v := s.def.Initial; v != nil {
			initial = append(initial, d.newValue(s, v, record{}, nil, "")) // in the place of what is there
		} else {
			unfit = append(unfit, name)
		}
	}
	if err := c.definitions.drop(ctx, unfit); err != nil {
		return nil, err
	}
	logged, err := c.readLogged(ctx)
	if err != nil {
		return nil, err
	}
	c.restore(logged)
	done := make(chan error, 1)
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range initial { // as many as there are keywords, whatever MaxStaged is
		if err := c.enterLocked(initial[i : i+1]); err != nil {
			return nil, err
		}
	}
	return done, c.enterLocked([]staged{{done: done}})
}
