package keywords

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/internal/redisio"
)

// DispatcherInfo describes a dispatcher of a service; see [Client.Dispatchers].
type DispatcherInfo struct {
	Service string `json:"service"`
	Name    string `json:"name"`

	// Serving is the process that serves. Nil: none lives.
	Serving *DispatcherProcess `json:"serving"`

	// Epoch is the fencing number of the newest tenure: Revision.Epoch of what is
	// committed in it. A dispatcher that takes over has a greater one.
	Epoch uint64 `json:"epoch"`

	// Standbys wait to take over, the longest first: at most 100.
	Standbys []DispatcherProcess `json:"standbys"`
}

// DispatcherProcess is a process that runs a [Dispatcher].
type DispatcherProcess struct {
	Worker string `json:"worker"` // id of its bus worker: kw.SERVICE.NAME:host:pid:uid
	Host   string `json:"host"`
	PID    int    `json:"pid"`

	// Since is when the tenure began, or when the standby began to wait, in Redis time. A
	// tenure begins when a dispatcher takes over, and when it finds that Redis has lost
	// what it committed.
	Since time.Time `json:"since"`
}

func processOf(worker string, since time.Time) DispatcherProcess {
	p := DispatcherProcess{Worker: worker, Since: since}
	if parts := strings.Split(worker, ":"); len(parts) == 4 {
		p.Host = parts[1]
		p.PID, _ = strconv.Atoi(parts[2])
	}
	return p
}

const (
	maxStandbys = 100 // that are read

	// standbyTTL is how long the list of standbys outlives its last one, at least.
	standbyTTL = time.Minute
)

// Dispatchers returns the dispatchers that a service has had, sorted by name, and which
// processes serve and wait. A service that was never served, or was cleared, is
// [CodeUnknownService].
func (c *Client) Dispatchers(ctx context.Context, service string) ([]DispatcherInfo, error) {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	s, err := newService(c.pool, service)
	if err != nil {
		return nil, err
	}
	var names []string
	var fences map[string]string
	var owners []*redis.StringCmd
	var waiting []*redis.ZSliceCmd
	var now *redis.TimeCmd
	var defined *redis.IntCmd
	err = c.persist(ctx, func() error {
		if fences, err = c.pool.Redis().HGetAll(ctx, s.fence()).Result(); err != nil {
			return err
		}
		names = slices.Sorted(maps.Keys(fences))
		owners, waiting = owners[:0], waiting[:0]
		_, err := c.pool.Redis().Pipelined(ctx, func(pipe redis.Pipeliner) error {
			now, defined = pipe.Time(ctx), pipe.Exists(ctx, s.definitions())
			for _, name := range names {
				owners = append(owners, pipe.Get(ctx, s.owner(name)))
				waiting = append(waiting, pipe.ZRangeWithScores(ctx, s.standbys(name), 0, maxStandbys-1))
			}
			return nil
		})
		return err
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return nil, redisio.Wrap(fmt.Sprintf("keywords: dispatchers of %s", service), err)
	}
	all := make([]DispatcherInfo, 0, len(names))
	for i, name := range names {
		info := DispatcherInfo{Service: service, Name: name, Standbys: []DispatcherProcess{}}
		info.Epoch, _ = strconv.ParseUint(fences[name], 10, 64)
		if fence, worker, ok := strings.Cut(owners[i].Val(), ":"); ok {
			info.Epoch, _ = strconv.ParseUint(fence, 10, 64)
			p := processOf(worker, time.UnixMicro(int64(info.Epoch))) // see luaBegin
			info.Serving = &p
		}
		for _, z := range waiting[i].Val() {
			member, _ := z.Member.(string)
			since, worker, _ := strings.Cut(member, " ")
			if us, err := strconv.ParseInt(since, 10, 64); err == nil && int64(z.Score) > now.Val().UnixMilli() {
				info.Standbys = append(info.Standbys, processOf(worker, time.UnixMicro(us)))
			}
		}
		slices.SortFunc(info.Standbys, func(a, b DispatcherProcess) int {
			return cmp.Or(a.Since.Compare(b.Since), strings.Compare(a.Worker, b.Worker))
		})
		if defined.Val() > 0 || info.Serving != nil || len(info.Standbys) > 0 {
			all = append(all, info)
		}
	}
	if len(all) == 0 {
		return nil, &Error{Code: CodeUnknownService, Service: service}
	}
	return all, nil
}

// standby is the entry of a dispatcher that waits for another one's end.
type standby struct {
	l      *lease
	member string // empty: it has not waited yet
}

// wait enters the dispatcher, or renews its entry. What fails is tried again with the
// next look at the lease.
func (w *standby) wait(ctx context.Context) {
	now := w.l.clock.Now()
	if w.member == "" {
		w.member = strconv.FormatInt(now.UnixMicro(), 10) + " " + w.l.id
	}
	key := w.l.service.standbys(w.l.name)
	_, err := w.l.client.TxPipelined(ctx, func(tx redis.Pipeliner) error {
		tx.ZRemRangeByScore(ctx, key, "-inf", strconv.FormatInt(now.UnixMilli(), 10))
		tx.ZAdd(ctx, key, redis.Z{Score: float64(now.Add(w.l.length).UnixMilli()), Member: w.member})
		tx.PExpire(ctx, key, max(standbyTTL, 2*w.l.length))
		return nil
	})
	if err != nil && ctx.Err() == nil {
		w.l.trouble.set(err)
	}
}

// leave removes the entry. Where Redis can't be reached it expires.
func (w *standby) leave() {
	if w.member == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	_ = w.l.client.ZRem(ctx, w.l.service.standbys(w.l.name), w.member).Err()
}
