package bus

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/internal/redisio"
)

// A worker that dies sends nothing. Calls that it had held for 250 ms were announced,
// and are lost when its lease has ended. For other calls the client compares them
// with the head of their queue, which is first in, first out: a request that was
// queued before the one at the head has been taken.
//
// One search proves nothing: a stopping worker may have returned or answered the call
// with the news still on its way, or a worker be about to renew its lease. A call is
// lost when all searches of some time have missed it. That time begins anew when Redis
// has lost its data or been away for long, so that workers can register again, but not
// for ever: after a lease and returnTime of misses the call is lost even so.
const (
	queueTime     = 2*tickTime - slackTime // of misses in the queue
	slackTime     = tickTime / 4           // by which searches may come early
	skewTime      = 100 * time.Millisecond // by which the clocks of two clients may differ
	announceLimit = 4 * announceTime       // without an announcement, after which a living worker does not hold a call
)

// suspects are the calls of a shard that a search looks for.
type suspects struct {
	held   map[string][]*pendingCall // by worker
	silent map[string][]*pendingCall // by worker that has announced them, long ago
	queued map[*route][]*pendingCall // not announced
}

// findLostCalls ends calls, older than a second, whose worker is lost, and forgets
// unused routes.
func (c *Client) findLostCalls(ctx context.Context, client redis.UniversalClient) {
	now := time.Now()
	all := map[*shard]*suspects{}
	of := func(s *shard) *suspects {
		if all[s] == nil {
			all[s] = &suspects{map[string][]*pendingCall{}, map[string][]*pendingCall{}, map[*route][]*pendingCall{}}
		}
		return all[s]
	}
	c.mu.Lock()
	for _, call := range c.calls {
		among := of(call.route.shard)
		switch {
		case call.lost || now.Sub(call.since) < tickTime:
		case call.worker == "":
			among.queued[call.route] = append(among.queued[call.route], call)
		case now.Sub(call.heard) > announceLimit, !call.doubt.IsZero() && now.Sub(call.doubt) > announceTime+returnTime:
			among.silent[call.worker] = append(among.silent[call.worker], call)
		default:
			among.held[call.worker] = append(among.held[call.worker], call)
		}
	}
	c.mu.Unlock()
	inUse := map[*shard]bool{}
	c.routes.Range(func(key, known any) bool {
		r := known.(*route)
		if c.age(now)-time.Duration(r.used.Load()) > routeIdle && len(of(r.shard).queued[r]) == 0 {
			c.routes.Delete(key)
		} else {
			inUse[r.shard] = true
		}
		return true
	})
	c.forgetShards(now, inUse)
	if !c.link.reachable() {
		return // replies and announcements may not have been read
	}
	for s, calls := range all {
		switch {
		case !s.searching.CompareAndSwap(false, true): // its server does not answer
		case s == c.home:
			s.search(ctx, client, calls)
		default:
			c.tasks.Go(func() {
				ctx, cancel := context.WithTimeout(c.ctx, redisio.BlockTime)
				defer cancel()
				if s.renew(ctx, client) == nil {
					s.search(ctx, client, calls)
				} else {
					s.searching.Store(false)
				}
			})
		}
	}
}

// search ends the lost calls of a shard.
func (s *shard) search(ctx context.Context, client redis.UniversalClient, calls *suspects) {
	defer s.searching.Store(false)
	now := time.Now()
	s.since = min(now.Sub(s.searched), tickTime+slackTime)
	s.searched = now
	for worker, silent := range calls.silent {
		for _, call := range silent {
			if s.c.missing(call, worker, true, 0) {
				s.c.lose(call)
			}
		}
	}
	s.c.checkWorkers(ctx, client, calls.held)
	maps.DeleteFunc(s.none, func(r *route, _ *absence) bool { return len(calls.queued[r]) == 0 })
	for r, queued := range calls.queued {
		s.checkQueue(ctx, client, r, queued)
	}
}

// checkWorkers ends the calls that dead workers hold.
func (c *Client) checkWorkers(ctx context.Context, client redis.UniversalClient, held map[string][]*pendingCall) {
	alive := make(map[string]*redis.IntCmd, len(held))
	_, _ = client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for worker := range held {
			if k, err := typeKeys(c.pool, c.cfg.Site, Direct(worker).typ); err == nil {
				alive[worker] = pipe.Exists(ctx, k.info(worker), k.leaving(worker))
			}
		}
		return nil
	})
	for worker, n := range alive {
		if n.Err() != nil {
			continue
		}
		for _, call := range held[worker] {
			// Its info may be gone before its lease: Redis's clock was set, or it evicts keys.
			if c.missing(call, worker, n.Val() == 0, beatOf(call.route.term())+slackTime) {
				c.lose(call)
			}
		}
	}
}

// term returns the lease of the route's workers, as far as it is known.
func (r *route) term() time.Duration {
	return cmp.Or(time.Duration(r.lease.Load()), defaultLease)
}

// missing notes whether a search found a call missing where it should be: with the
// worker that announced it, or in its queue (worker ""). It reports whether the call is
// lost: all searches of some time have missed it.
func (c *Client) missing(call *pendingCall, worker string, missing bool, some time.Duration) (lost bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case call.worker != worker: // it was announced or returned since
		return false
	case !missing:
		call.missed = 0
		return false
	}
	return call.missed.proves(call.route.shard, some, call.route.term())
}

// absence is the time in which all searches have missed something; zero: the last one
// found it. The time in which there were no searches is not counted: Redis was not
// there.
type absence time.Duration

// proves adds the time since the last search, and reports whether it is enough.
func (a *absence) proves(s *shard, enough, term time.Duration) bool {
	if *a++; *a > 1 {
		*a += absence(s.since)
	}
	return *a > absence(enough) && s.link.settled() || *a > absence(term+returnTime)
}

// doubtAnnouncements notes that Redis has lost its data: what was announced may have
// been answered since. Workers announce the calls that they still hold again.
func (c *Client) doubtAnnouncements() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, call := range c.calls {
		if call.doubt.IsZero() {
			call.doubt = time.Now()
		}
	}
}

// checkQueue ends the calls of a route that are lost.
func (s *shard) checkQueue(ctx context.Context, client redis.UniversalClient, r *route, calls []*pendingCall) {
	c := s.c
	command, key, args := r.aliveCommand()
	switch n, err := client.Do(ctx, append([]any{command, key}, args...)...).Int64(); {
	case err != nil:
		return
	case n == 0:
		none := s.none[r]
		if none == nil {
			none = new(absence)
			s.none[r] = none
		}
		if !none.proves(s, max(queueTime, beatOf(r.term())+slackTime), r.term()) {
			return
		}
		for _, call := range calls {
			// A call that is still queued was not taken, and will not be.
			switch removed, err := r.remove(ctx, client, call); {
			case err != nil:
			case removed:
				c.settle(call, nil, ErrNoWorkers)
			case call.written.Load() && time.Since(call.since) > queueTime:
				c.lose(call)
			}
		}
		return
	}
	delete(s.none, r)
	head, err := client.LIndex(ctx, r.queue, 0).Result()
	empty := errors.Is(err, redis.Nil)
	if err != nil && !empty {
		return
	}
	var oldest request
	if !empty && oldest.unpack(head) != nil {
		return // a worker takes it soon, and answers that it is malformed
	}
	now := c.clock.Now().UnixMilli()
	for _, call := range calls {
		c.mu.Lock()
		if call.before == 0 && call.written.Load() {
			call.before = now
		}
		before, first := call.before, call.missed == 0
		c.mu.Unlock()
		taken := before > 0 && (empty || oldest.sent > before+skewTime.Milliseconds())
		if taken && first && !empty {
			// Calls that two stopping workers returned may be out of order.
			err := client.LPos(ctx, r.queue, string(call.frame), redis.LPosArgs{}).Err()
			taken = errors.Is(err, redis.Nil)
		}
		if taken {
			overflowed, err := r.overflowed(ctx, client, call, before)
			if err != nil {
				return
			}
			taken = !overflowed
		}
		if c.missing(call, "", taken, queueTime) {
			c.lose(call)
		}
	}
}

// overflowKeys returns the lists in which a call may wait because its method has a
// limit: that of the method, and that of all methods that HandleAny serves.
func (r *route) overflowKeys(method string) []string {
	if r.to.id != "" {
		return []string{r.keys.ownOverflow(method, r.to.id), r.keys.ownOverflow(anyName, r.to.id)}
	}
	return []string{r.keys.overflow(method), r.keys.overflow(anyName)}
}

// overflowed reports whether a call that was in its queue at before waits in an
// overflow list. If the head of the list is older it does, as far as can be told
// without reading all of the list.
func (r *route) overflowed(ctx context.Context, client redis.UniversalClient, call *pendingCall, before int64) (bool, error) {
	for _, key := range r.overflowKeys(call.method) {
		head, err := client.LIndex(ctx, key, 0).Result()
		if errors.Is(err, redis.Nil) {
			continue
		}
		if err != nil {
			return false, err
		}
		var oldest request
		if oldest.unpack(head) == nil && oldest.sent <= before+skewTime.Milliseconds() {
			return true, nil
		}
		err = client.LPos(ctx, key, string(call.frame), redis.LPosArgs{}).Err()
		if !errors.Is(err, redis.Nil) {
			return err == nil, err
		}
	}
	return false, nil
}

// remove takes a call out of its queue or overflow list, and reports whether it
// was there.
func (r *route) remove(ctx context.Context, client redis.UniversalClient, call *pendingCall) (bool, error) {
	for _, key := range append([]string{r.queue}, r.overflowKeys(call.method)...) {
		if removed, err := client.LRem(ctx, key, 1, call.frame).Result(); removed > 0 || err != nil {
			return removed > 0, err
		}
	}
	return false, nil
}
