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
	"github.com/heliograph/heliograph/storage"
)

// acquire takes the lease of the dispatcher, when nobody has it any more, however
// long Redis is away. Where Redis has forgotten one that was seen to live, that
// one, which knows the values, has the time of its lease to come back.
func (d *Dispatcher) acquire(ctx context.Context) error {
	keys := []string{d.service.owner(d.cfg.Name), d.service.fence()}
	var theirs time.Duration // lease of the other one, as far as it was seen
	var since time.Time      // when it was found forgotten
	for try := 0; ; {
		err := d.clock.Sync(ctx, d.client)
		var fence int64
		if err == nil {
			wait := 0
			if theirs > 0 && (since.IsZero() || time.Since(since) < theirs) {
				wait = 1
			}
			fence, err = luaAcquire.Run(ctx, d.client, keys, d.cfg.Name, d.worker.ID(), d.cfg.Lease.Milliseconds(), wait).Int64()
		}
		if ctx.Err() == nil {
			d.trouble.set(err)
		}
		pause := redisio.Backoff(try)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case redis.IsAuthError(err), redis.IsPermissionError(err), errors.Is(err, storage.ErrClosed):
			return err
		case err != nil:
			if try++; try == 1 {
				d.log.Warn("keywords: lease not acquired, trying again", "error", err)
			}
		case fence > 0:
			d.fence = strconv.FormatInt(fence, 10)
			d.token = d.fence + ":" + d.worker.ID()
			return nil
		case d.cfg.Refuse:
			return redisio.Wrap(d.label(), ErrServed)
		case fence == 0:
			if since.IsZero() {
				since = time.Now()
			}
			pause = d.cfg.Lease / 3
		default:
			// The other one's lease, or a third of ours: it may end before.
			left := time.Duration(-fence) * time.Millisecond
			theirs, since = max(theirs, left), time.Time{}
			pause = min(left, d.cfg.Lease/3)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// keep renews the lease until stop is closed, or it is lost, over a connection of
// its own: no commit may starve it. It notices when Redis has forgotten what was
// written.
func (d *Dispatcher) renewLease(stop <-chan struct{}) {
	client := redisio.Of(d.pool).Dedicated()
	defer client.Close()
	for {
		select {
		case <-stop:
			return
		case <-d.ended:
			return
		case <-time.After(d.cfg.Lease / 3):
		}
		ctx, cancel := context.WithTimeout(context.Background(), d.cfg.Lease/3)
		_ = d.clock.Sync(ctx, client)
		cancel()
		if err := d.renewOnce(client); fencedReply(err) {
			d.endCommit(nil, err)
			return
		} // of any other the committer tells
	}
}

// renew renews the lease, also one that has ended, or that Redis has forgotten,
// if nobody has had it since.
func (d *Dispatcher) renewOnce(client redis.UniversalClient) error {
	ctx, cancel := context.WithTimeout(context.Background(), d.cfg.Lease/3)
	defer cancel()
	keys := []string{d.service.owner(d.cfg.Name), d.service.fence(), d.service.meta(d.cfg.Name)}
	d.mu.Lock()
	known := d.epoch
	d.mu.Unlock()
	epoch, err := luaRenew.Run(ctx, client, keys, d.token, d.cfg.Name, d.fence, d.cfg.Lease.Milliseconds()).Text()
	if err != nil {
		return redisio.Normalize(ctx, err)
	}
	d.mu.Lock()
	same := known == d.epoch // or else another has begun meanwhile
	d.mu.Unlock()
	if same && epoch != known {
		d.noteForgotten()
	}
	return nil
}

// owning does what needs the lease, once more where that has ended and nobody has
// had it since.
func (d *Dispatcher) withLease(do func() error) error {
	err := do()
	if unownedReply(err) {
		if err = d.renewOnce(d.client); err == nil {
			err = do()
		}
	}
	if fencedReply(err) {
		return d.fenced()
	}
	return err
}

// fenced is the error of a dispatcher whose lease somebody else has.
func (d *Dispatcher) fenced() error {
	return &Error{Code: CodeFenced, Service: d.service.name, Text: "another dispatcher has taken over"}
}

// release gives the lease back, and tells the watchers.
func (d *Dispatcher) release(ctx context.Context) {
	msg, err := storage.MsgPack.Marshal(&message{Dispatcher: d.cfg.Name, Ended: true})
	if err == nil {
		err = luaRelease.Run(ctx, d.client, []string{d.service.owner(d.cfg.Name)}, d.token, d.channel, msg).Err()
	}
	if err != nil {
		d.log.Warn("keywords: lease not released, it expires", "in", d.cfg.Lease, "error", err)
	}
}

// publish writes the definitions of what is served, and removes those that this
// dispatcher has left from an earlier run, with their values. Where another begins
// at the same time it looks again.
func (d *Dispatcher) publish(ctx context.Context) error {
	for {
		if err := d.tryPublish(ctx); !errors.Is(err, errChanged) {
			return err
		}
	}
}

// errChanged says that another dispatcher has come between.
var errChanged = errors.New("keywords: definitions have changed meanwhile")

func (d *Dispatcher) tryPublish(ctx context.Context) error {
	all, err := d.client.HGetAll(ctx, d.service.definitions()).Result()
	if err != nil {
		return redisio.Normalize(ctx, err)
	}
	var gone []string
	others := make(map[string]bool) // owners of what this one takes over
	for name, text := range all {
		var def struct { // as much of a definition as any program can read
			Dispatcher string `json:"dispatcher"`
		}
		err := storage.JSON.Unmarshal([]byte(text), &def)
		of := cmp.Or(def.Dispatcher, defaultDispatcher)
		switch s := d.served[name]; {
		case err != nil: // of nobody
		case s != nil && of != d.cfg.Name:
			owner := d.service.owner(of)
			n, err := d.client.Exists(ctx, owner).Result()
			switch {
			case err != nil:
				return redisio.Normalize(ctx, err)
			case n > 0:
				return fmt.Errorf("keywords: %s.%s is served by the dispatcher %s", d.service.name, name, of)
			}
			others[owner] = true
		case s == nil && of == d.cfg.Name:
			gone = append(gone, name)
		}
	}
	services, err := servicesKey(d.pool)
	if err != nil {
		return err
	}
	msg, err := storage.MsgPack.Marshal(&message{Dispatcher: d.cfg.Name, Defined: true})
	if err != nil {
		return err
	}
	keys := []string{d.service.owner(d.cfg.Name), d.service.definitions()}
	args := []any{d.token, d.channel, msg, len(others), len(gone)}
	keys = slices.AppendSeq(keys, maps.Keys(others))
	for _, name := range gone {
		keys = append(keys, d.service.value(name), d.service.log(name))
		args = append(args, name)
	}
	for name, s := range d.served {
		text, err := storage.JSON.Marshal(s.def)
		if err != nil {
			return err
		}
		args = append(args, name, all[name], text)
	}
	err = luaDefine.Run(ctx, d.client, keys, args...).Err()
	if err != nil && strings.Contains(err.Error(), "CHANGED") {
		return errChanged
	}
	if err == nil {
		err = d.client.SAdd(ctx, services, d.service.name).Err()
	}
	return redisio.Normalize(ctx, err)
}

// drop deletes values, unless somebody else has taken over.
func (d *Dispatcher) deleteValues(ctx context.Context, names ...string) error {
	keys := []string{d.service.owner(d.cfg.Name)}
	for _, name := range names {
		keys = append(keys, d.service.value(name))
	}
	return redisio.Normalize(ctx, luaDelete.Run(ctx, d.client, keys, d.token).Err())
}

// load reads what an earlier run has left, and goes on counting from there. What
// does not persist, or is no value of its keyword any more, begins with the initial
// one, or with none. It returns a channel that tells when those are committed.
func (d *Dispatcher) load(ctx context.Context) (committed chan error, err error) {
	meta, err := d.client.HMGet(ctx, d.service.meta(d.cfg.Name), "e", "n").Result()
	switch {
	case redis.HasErrorPrefix(err, "WRONGTYPE"): // somebody else's, and worth nothing
		meta = []any{nil, nil}
	case err != nil:
		return nil, redisio.Normalize(ctx, err)
	}
	epoch, _ := meta[0].(string)
	text, _ := meta[1].(string)
	n, bad := strconv.ParseUint(text, 10, 64)
	d.mu.Lock()
	d.epoch, d.newest, d.forgotten = epoch, n, epoch == "" || bad != nil
	d.mu.Unlock()

	values := make(map[*served]*redis.SliceCmd)
	_, err = d.client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for _, s := range d.served {
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
	for name, s := range d.served {
		if cmd := values[s]; cmd != nil {
			if err := cmd.Err(); err != nil && !redis.HasErrorPrefix(err, "WRONGTYPE") {
				return nil, redisio.Normalize(ctx, err)
			}
			rec, ok := readRecord(name, cmd.Val())
			if v, err := s.def.Parse(rec.text); ok && err == nil && s.def.Check(v) == nil {
				d.mu.Lock()
				s.now, s.canonical, s.committed = rec, v, rec
				d.mu.Unlock()
				continue
			}
		}
		if v := s.def.Initial; v != nil {
			initial = append(initial, d.newValue(s, v, record{}, "")) // in the place of what is there
		} else {
			unfit = append(unfit, name)
		}
	}
	if err := d.deleteValues(ctx, unfit...); err != nil {
		return nil, err
	}
	committed = make(chan error, 1)
	if len(initial) == 0 {
		committed <- nil
		return committed, nil
	}
	initial[len(initial)-1].done = committed
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stageLocked(initial) // as many as there are keywords, whatever MaxStaged is
	return committed, nil
}
