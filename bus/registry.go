package bus

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/storage"
)

// DefaultSite is the site of clients and workers that name none.
const DefaultSite = "local"

// defaultLease is the lease of workers that name none.
const defaultLease = 5 * time.Second

// queueTTL is the time to live of the queues and of the registry of a type. Living
// workers renew it.
const queueTTL = time.Minute

// WorkerInfo describes a worker in the registry.
type WorkerInfo struct {
	ID      string    `json:"id"` // type:host:pid:uid
	Site    string    `json:"site"`
	Type    string    `json:"type"`
	Host    string    `json:"host"`
	PID     int       `json:"pid"`
	Started time.Time `json:"started"` // in Redis time

	Version string            `json:"version,omitempty"`
	Labels  map[string]string `json:"labels,omitempty"`
}

// keys returns the keys of a type, which are in one slot of a cluster:
//
//	bus:{site:type}:queue        list    the calls to the group
//	bus:{site:type}:queue:<id>   list    the calls to one worker
//	bus:{site:type}:control:<id> list    notices, and calls to built-in methods, of one worker
//	bus:{site:type}:overflow:<method>      list  calls to the group over the method's limit; * for HandleAny's
//	bus:{site:type}:overflow:<method>:<id> list  the same of calls to one worker
//	bus:{site:type}:alive        zset    worker id → end of its lease in Redis ms
//	bus:{site:type}:info:<id>    string  WorkerInfo as JSON, as long as it is alive
//	bus:{site:type}:leaving:<id> string  empty, while it ends its last calls
//	bus:{site:type}:paused       string  empty, while its workers begin no calls
//	bus:{site:type}:mark:<client> string empty, on a cluster: see shard
//
// Its log is in bus:<site>:log:<id>, a [storage.Log].
type keys struct{ base string }

func typeKeys(pool *storage.Pool, site, typ string) (keys, error) {
	base, err := pool.Key("bus", redisio.HashTag(site, typ))
	return keys{base}, err
}

func (k keys) queue() string             { return k.base + ":queue" }
func (k keys) ownQueue(id string) string { return k.base + ":queue:" + id }

func (k keys) paused() string { return k.base + ":paused" }

// queueOf returns the queue of an address.
func (k keys) queueOf(to Address) string {
	if to.id != "" {
		return k.ownQueue(to.id)
	}
	return k.queue()
}

func (k keys) control(id string) string             { return k.base + ":control:" + id }
func (k keys) overflow(method string) string        { return k.base + ":overflow:" + method }
func (k keys) ownOverflow(method, id string) string { return k.base + ":overflow:" + method + ":" + id }
func (k keys) alive() string                        { return k.base + ":alive" }
func (k keys) info(id string) string                { return k.base + ":info:" + id }
func (k keys) leaving(id string) string             { return k.base + ":leaving:" + id }

// typesKey returns the key of the zset of a site's types and the ends of their leases.
func typesKey(pool *storage.Pool, site string) (string, error) {
	return pool.Key("bus", redisio.HashTag(site), "types")
}

// inboxKey returns the key of the stream of a client's replies.
func inboxKey(pool *storage.Pool, site, client string) (string, error) {
	return pool.Key("bus", redisio.HashTag(site, "inbox", client))
}

// newID returns a new host:pid:uid, and its host and pid.
func newID() (id, host string, pid int) {
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "unknown"
	}
	host, pid = hostName(host), os.Getpid()
	return host + ":" + strconv.Itoa(pid) + ":" + strings.ToLower(rand.Text()[:8]), host, pid
}

// hostName returns a host's name with each character that ids can't have replaced by
// "-".
func hostName(host string) string {
	return strings.Map(func(r rune) rune {
		if r == ':' || redisio.CheckName(string(r)) != nil {
			return '-'
		}
		return r
	}, host)
}

// lease is a worker's entry in the registry. Its commands have a connection of their
// own, so that other traffic can't delay them.
type lease struct {
	client redis.UniversalClient
	clock  *redisio.Clock
	keys   keys
	types  string // key
	info   *WorkerInfo
	term   time.Duration
	hidden bool
	link   *connection
	tenure *tenure

	lists []string                       // keys of overflow lists, renewed by each beat
	found func(exists func(string) bool) // called after it
	pause func(paused bool)              // called after each beat
}

// enter makes the worker known once rehearse has succeeded, however long Redis is
// unreachable.
func (l *lease) enter(ctx context.Context, rehearse func(context.Context) error) error {
	for try := 0; ; try++ {
		err := l.syncClock(ctx)
		if err == nil {
			err = rehearse(ctx)
		}
		if err == nil {
			l.info.Started = l.clock.Now()
			err = l.renew(ctx)
		}
		switch {
		case err == nil:
			l.link.markUp()
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case isPermanent(err):
			return err
		}
		l.link.markDown(err)
		if !redisio.Sleep(ctx, redisio.Backoff(try)) {
			return ctx.Err()
		}
	}
}

// beatOf returns the time between two renewals of a lease.
func beatOf(term time.Duration) time.Duration { return min(term, queueTTL) / 3 }

// keep calls renew three times in each term, or in each queueTTL if that is shorter,
// and at once when now has an element, until stop is closed.
func (l *lease) keep(stop <-chan struct{}, now <-chan struct{}, renew func(context.Context) error) {
	beat := beatOf(l.term)
	for try, pause := 0, beat; ; {
		select {
		case <-stop:
			return
		case <-now:
		case <-time.After(pause):
		}
		ctx, cancel := context.WithTimeout(context.Background(), beat)
		err := renew(ctx)
		cancel()
		if err != nil {
			l.link.markDown(err)
			pause = min(redisio.Backoff(try), beat)
			try++
			continue
		}
		l.link.markUp()
		try, pause = 0, beat
	}
}

// transact runs commands in one transaction. Of one with a command that Redis refuses, it
// says only that it was discarded: the error of that command says why.
func transact(ctx context.Context, client redis.UniversalClient, queue func(redis.Pipeliner) error) error {
	cmds, err := client.TxPipelined(ctx, queue)
	if redis.IsExecAbortError(err) {
		for _, cmd := range cmds {
			if cause := cmd.Err(); cause != nil && !redis.IsExecAbortError(cause) {
				return cause
			}
		}
	}
	return err
}

// syncClock asks the server of the registry for its time: another one of a cluster may be
// unreachable.
func (l *lease) syncClock(ctx context.Context) error {
	server, err := redisio.PrimaryOf(ctx, l.client, l.keys.alive())
	if err != nil {
		return redisio.Normalize(ctx, err)
	}
	return l.clock.Sync(ctx, server)
}

// renew enters the worker into the registry for another term.
func (l *lease) renew(ctx context.Context) error {
	// The clock goes on without an answer, and the renewal must not wait for it.
	asking, cancel := context.WithTimeout(ctx, min(l.term, queueTTL)/6)
	_ = l.syncClock(asking)
	cancel()
	info, err := storage.JSON.Marshal(l.info)
	if err != nil {
		return err
	}
	asked, now := time.Now(), l.clock.Now()
	end := redis.Z{Score: float64(now.Add(l.term).UnixMilli()), Member: l.info.ID}
	renewed := make(map[string]*redis.BoolCmd, len(l.lists))
	var paused *redis.IntCmd
	// One transaction, so that no key is ever without a time to live.
	err = transact(ctx, l.client, func(tx redis.Pipeliner) error {
		tx.ZRemRangeByScore(ctx, l.keys.alive(), "-inf", strconv.FormatInt(now.Add(-l.term).UnixMilli(), 10))
		tx.ZAdd(ctx, l.keys.alive(), end)
		tx.PExpire(ctx, l.keys.alive(), max(queueTTL, 2*l.term))
		tx.Set(ctx, l.keys.info(l.info.ID), info, l.term)
		tx.PExpire(ctx, l.keys.queue(), queueTTL)
		tx.PExpire(ctx, l.keys.ownQueue(l.info.ID), queueTTL)
		tx.PExpire(ctx, l.keys.control(l.info.ID), queueTTL)
		for _, key := range l.lists {
			renewed[key] = tx.PExpire(ctx, key, queueTTL)
		}
		paused = tx.Exists(ctx, l.keys.paused())
		return nil
	})
	if err == nil && len(l.lists) > 0 {
		l.found(func(key string) bool { return renewed[key].Val() })
	}
	if err == nil {
		l.pause(paused.Val() > 0)
	}
	if err == nil || redis.IsOOMError(err) && l.prolong(ctx) {
		l.tenure.extend(asked.Add(l.term))
	}
	if err != nil || l.hidden {
		return redisio.Normalize(ctx, err)
	}
	err = transact(ctx, l.client, func(tx redis.Pipeliner) error {
		tx.ZRemRangeByScore(ctx, l.types, "-inf", strconv.FormatInt(now.Add(-l.term).UnixMilli(), 10))
		tx.ZAdd(ctx, l.types, redis.Z{Score: end.Score, Member: l.info.Type})
		tx.PExpire(ctx, l.types, max(queueTTL, 2*l.term))
		return nil
	})
	return redisio.Normalize(ctx, err)
}

// prolong keeps what there is of the worker for another term, in a Redis that is full. It
// takes no new scores in alive, but commands that need no memory: as long as the info is
// there, the worker's calls are not lost. Prolong reports whether it is. A full Redis
// takes no transactions.
func (l *lease) prolong(ctx context.Context) bool {
	var there *redis.BoolCmd
	_, err := l.client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		pipe.PExpire(ctx, l.keys.alive(), max(queueTTL, 2*l.term))
		there = pipe.PExpire(ctx, l.keys.info(l.info.ID), l.term)
		for _, key := range append(slices.Clone(l.lists), l.keys.queue(), l.keys.ownQueue(l.info.ID), l.keys.control(l.info.ID)) {
			pipe.PExpire(ctx, key, queueTTL)
		}
		return nil
	})
	return err == nil && there.Val()
}

// leave takes the worker out of the registry. It may still have calls.
func (l *lease) leave(ctx context.Context) error {
	var left *redis.IntCmd
	_, err := l.client.TxPipelined(ctx, func(tx redis.Pipeliner) error {
		tx.ZRem(ctx, l.keys.alive(), l.info.ID)
		tx.Del(ctx, l.keys.info(l.info.ID))
		tx.Set(ctx, l.keys.leaving(l.info.ID), "", l.term)
		left = tx.ZCard(ctx, l.keys.alive())
		return nil
	})
	if err == nil && left.Val() == 0 && !l.hidden {
		// A worker that has joined since adds the type with its next heartbeat.
		err = l.client.ZRem(ctx, l.types, l.info.Type).Err()
	}
	return redisio.Normalize(ctx, err)
}

// linger keeps a worker that has left the registry, and still has calls, from being
// taken for dead.
func (l *lease) linger(ctx context.Context) error {
	asked := time.Now()
	_, err := l.client.TxPipelined(ctx, func(tx redis.Pipeliner) error {
		tx.Set(ctx, l.keys.leaving(l.info.ID), "", l.term)
		tx.PExpire(ctx, l.keys.control(l.info.ID), queueTTL)
		return nil
	})
	if err == nil {
		l.tenure.extend(asked.Add(l.term))
	}
	return redisio.Normalize(ctx, err)
}

// end removes the last keys of a worker that has ended its calls.
func (l *lease) end(ctx context.Context) error {
	return redisio.Normalize(ctx, l.client.Del(ctx, l.keys.leaving(l.info.ID), l.keys.control(l.info.ID)).Err())
}

// Workers returns the living workers of a type, or of all types of the site if
// typ is empty, sorted by id. All types are without those of package keywords' dispatchers.
// While Redis can't be reached it tries again until ctx ends.
func (c *Client) Workers(ctx context.Context, typ string) ([]WorkerInfo, error) {
	ctx, cancel := withEnd(ctx, c.deadline(ctx, time.Now()))
	defer cancel()
	var all []WorkerInfo
	err := (Audience{named: true, typ: typ}).check()
	if err == nil {
		err = c.ask(ctx, func(ctx context.Context, from redis.UniversalClient) (err error) {
			all, _, err = c.workers(ctx, from, typ)
			return err
		})
	}
	if err != nil {
		return nil, redisio.Wrap("bus: workers", err)
	}
	return all, nil
}

// workers reads the registry of a type, or of all types if typ is empty. It returns the
// shards that it has asked, too.
func (c *Client) workers(ctx context.Context, from redis.UniversalClient, typ string) (all []WorkerInfo, shards []*shard, err error) {
	ask := func(base string) {
		if s := c.shardOf(base); !slices.Contains(shards, s) {
			shards = append(shards, s)
		}
	}
	types := []string{typ}
	if typ == "" {
		key, err := typesKey(c.pool, c.cfg.Site)
		if err != nil {
			return nil, nil, err
		}
		ask(strings.TrimSuffix(key, ":types"))
		if types, err = from.ZRange(ctx, key, 0, -1).Result(); err != nil {
			return nil, nil, redisio.Normalize(ctx, err)
		}
	}
	for _, t := range types {
		k, err := typeKeys(c.pool, c.cfg.Site, t)
		if err != nil {
			return nil, nil, err
		}
		ask(k.base)
		workers, err := c.workersOf(ctx, from, k)
		if err != nil {
			return nil, nil, fmt.Errorf("type %s: %w", t, err)
		}
		all = append(all, workers...)
	}
	slices.SortFunc(all, func(a, b WorkerInfo) int { return strings.Compare(a.ID, b.ID) })
	return all, shards, nil
}

// infoOf returns what a worker's id says of it.
func infoOf(site, id string) (w WorkerInfo, err error) {
	if err := Direct(id).check(); err != nil {
		return w, err
	}
	parts := strings.Split(id, ":")
	w = WorkerInfo{ID: id, Site: site, Type: parts[0], Host: parts[1]}
	w.PID, err = strconv.Atoi(parts[2])
	return w, err
}

// workersOf reads the registry of one type.
func (c *Client) workersOf(ctx context.Context, from redis.UniversalClient, k keys) ([]WorkerInfo, error) {
	ids, err := from.ZRange(ctx, k.alive(), 0, -1).Result()
	if err != nil || len(ids) == 0 {
		return nil, redisio.Normalize(ctx, err)
	}
	infoKeys := make([]string, len(ids))
	for i, id := range ids {
		infoKeys[i] = k.info(id)
	}
	// The info has the lease's time to live.
	infos, err := from.MGet(ctx, infoKeys...).Result()
	if err != nil {
		return nil, redisio.Normalize(ctx, err)
	}
	var workers []WorkerInfo
	for i, info := range infos {
		text, ok := info.(string)
		if !ok {
			continue
		}
		w := WorkerInfo{}
		err := storage.JSON.Unmarshal([]byte(text), &w)
		if err == nil && w.ID != ids[i] {
			err = fmt.Errorf("it is that of worker %q", w.ID)
		}
		if err != nil {
			c.throttle.Warn(c.link.log, "bus: a worker's info is not readable; only what its id says is known", "key", infoKeys[i], "error", err)
			if w, err = infoOf(c.cfg.Site, ids[i]); err != nil {
				continue // nor can the worker be called
			}
		}
		workers = append(workers, w)
	}
	return workers, nil
}

// isPermanent reports whether an error is about the user's password or rights, or a
// closed pool, so that trying again is of no use.
func isPermanent(err error) bool {
	return redis.IsAuthError(err) || redis.IsPermissionError(err) || errors.Is(err, storage.ErrClosed)
}
