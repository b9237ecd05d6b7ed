package keywords

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/internal/redisio"
)

// readAll reads the whole service and notifies the watchers of what has changed. It tries
// again while Redis is unreachable, and returns an error that Redis answers with.
func (f *feed) readAll(kind EventKind) error {
	if kind == EventResync {
		f.c.stats.resyncs.Add(1)
	}
	for try := 0; ; try++ {
		err := f.tryReadAll(kind)
		switch {
		case err == nil || refusedByRedis(err):
			f.c.trouble.set(nil)
			return err
		case f.ctx.Err() != nil, errors.Is(err, redis.ErrClosed):
			return ErrClosed
		case try == 2:
			redisio.Of(f.c.pool).Logger().Warn("keywords: the values of a service can't be read, trying again", "service", f.s.name, "error", err)
		}
		f.c.trouble.set(err)
		f.checkContact()
		_ = redisio.Sleep(f.ctx, redisio.Backoff(try))
	}
}

// tryReadAll is one try of readAll.
func (f *feed) tryReadAll(kind EventKind) error {
	ctx, cancel := context.WithTimeout(f.ctx, redisio.BlockTime)
	defer cancel()
	defs, err := f.c.definitions(ctx, f.s)
	var unknown *Error
	if err != nil && !errors.As(err, &unknown) {
		return err
	}
	// Heads are read first, so that a value committed meanwhile is taken for newer and read
	// or received again, rather than missed.
	dispatchers := make(map[string]bool)
	for i := range defs {
		dispatchers[defs[i].Dispatcher] = true
	}
	heads, err := f.readHeads(ctx, maps.Keys(dispatchers))
	if err != nil {
		return err
	}
	recs := make([]readResult, 0, len(defs))
	for chunk := range slices.Chunk(defs, pieceSize) {
		some, err := f.readSome(chunk)
		if err != nil {
			return err
		}
		recs = append(recs, some...)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	before, cut := f.heads, f.cut
	f.heads, f.cut, f.contact = heads, false, time.Now()
	there := make(map[string]bool, len(defs))
	for i, def := range defs {
		there[def.Name] = true
		k := f.keywords[def.Name]
		if k == nil {
			k = &keywordState{rec: record{name: def.Name}, watchers: make(map[*watcher]struct{})}
			f.keywords[def.Name] = k
			for w, match := range f.all {
				if match(def.Name) {
					k.watchers[w] = struct{}{}
				}
			}
		}
		redefined := k.def != nil && !k.def.same(&def)
		if redefined || k.def == nil {
			k.def = &def // watchers know by the pointer that it has changed
		}
		k.gone = false
		was, h := k.rec.rev, before[def.Dispatcher]
		f.setReadLocked(k, kind, recs[i])
		if redefined {
			f.notifyAllLocked(EventRedefined, k)
		}
		now := f.qualityLocked(k)
		switch {
		case h == nil || k.rec.rev != was || now == qualityOf(h, cut):
		case now == QualityStale:
			f.notifyAllLocked(EventStale, k)
		default:
			f.notifyAllLocked(EventGood, k)
		}
	}
	for name, k := range f.keywords {
		switch {
		case there[name]:
		case len(k.watchers) == 0:
			delete(f.keywords, name)
		case !k.gone:
			k.gone, k.ok = true, false
			f.notifyAllLocked(EventGone, k)
		}
	}
	return nil
}

// readSome reads some keywords.
func (f *feed) readSome(defs []Definition) ([]readResult, error) {
	ctx, cancel := context.WithTimeout(f.ctx, redisio.BlockTime)
	defer cancel()
	return f.c.read(ctx, f.s.name, defs)
}

// readHeads reads the state of dispatchers.
func (f *feed) readHeads(ctx context.Context, dispatchers iter.Seq[string]) (map[string]*head, error) {
	alive, metas := map[string]*redis.IntCmd{}, map[string]*redis.SliceCmd{}
	_, err := f.c.pool.Redis().Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for disp := range dispatchers {
			alive[disp] = pipe.Exists(ctx, f.s.owner(disp))
			metas[disp] = pipe.HMGet(ctx, f.s.meta(disp), "e", "n")
		}
		return nil
	})
	if err != nil {
		return nil, redisio.Normalize(ctx, err)
	}
	heads := make(map[string]*head, len(metas))
	for disp, meta := range metas {
		h := &head{alive: alive[disp].Val() > 0}
		epoch, _ := meta.Val()[0].(string)
		n, _ := meta.Val()[1].(string)
		h.newest.Epoch, _ = strconv.ParseUint(epoch, 10, 64)
		h.newest.N, _ = strconv.ParseUint(n, 10, 64)
		heads[disp] = h
	}
	return heads, nil
}

// checkHeads notices dispatchers that have died, and messages that were lost without an
// error. It reports whether the service must be read again.
func (f *feed) checkHeads() (again bool) {
	ctx, cancel := context.WithTimeout(f.ctx, checkInterval)
	defer cancel()
	f.mu.Lock()
	dispatchers := slices.Collect(maps.Keys(f.heads))
	f.mu.Unlock()
	if len(dispatchers) == 0 {
		return true
	}
	heads, err := f.readHeads(ctx, slices.Values(dispatchers))
	f.c.trouble.set(err)
	if err != nil {
		f.checkContact()
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.contact = time.Now()
	again = f.cut
	for disp, now := range heads {
		h := f.heads[disp]
		if h == nil {
			continue
		}
		switch {
		case h.alive && !now.alive:
			h.alive = false
			f.notifyStaleLocked(disp)
		case !h.alive && now.alive:
			again = true // a dispatcher has taken over, or has renewed its lease
		}
		if now.newest.Compare(h.newest) <= 0 {
			h.behind = 0
		} else if h.behind++; h.behind > 1 { // at the first time the message may be on its way
			again = true
		}
	}
	return again
}

// pollIntervalLocked returns how often a keyword must be read because its changes are not
// published: those of a keyword with NoBroadcast, and external writes while no dispatcher
// lives. 0: it need not be read.
func (f *feed) pollIntervalLocked(k *keywordState) time.Duration {
	switch {
	case k.gone || len(k.watchers) == 0:
		return 0
	case k.def.NoBroadcast:
		return cmp.Or(k.def.Period, checkInterval)
	case !f.alive(k):
		return checkInterval
	}
	return 0
}

// untilPoll returns the time until the next pollDue: the shortest poll interval, and at
// most checkInterval, since a keyword may get its first watcher meanwhile.
func (f *feed) untilPoll() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	least := checkInterval
	for _, k := range f.keywords {
		if every := f.pollIntervalLocked(k); every > 0 {
			least = min(least, every)
		}
	}
	return least
}

// pollDue reads the keywords whose poll interval is over.
func (f *feed) pollDue() {
	ctx, cancel := context.WithTimeout(f.ctx, checkInterval)
	defer cancel()
	now := time.Now()
	f.mu.Lock()
	var defs []Definition
	for _, k := range f.keywords {
		if every := f.pollIntervalLocked(k); every > 0 && now.Sub(k.polled) >= every-every/8 { // timers are not exact
			k.polled = now
			defs = append(defs, *k.def)
		}
	}
	f.mu.Unlock()
	if len(defs) == 0 {
		return
	}
	recs, err := f.c.read(ctx, f.s.name, defs)
	if err != nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range recs {
		if k := f.keywords[r.name]; k != nil {
			f.setReadLocked(k, EventChange, r)
		}
	}
}
