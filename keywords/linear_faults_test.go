package keywords_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/keywords"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

var (
	linearSeed      = flag.Uint64("linear.seed", 0, "run this schedule of TestHistoriesAreLinearizable only")
	linearSchedules = flag.Int("linear.schedules", 0, "run so many schedules of TestHistoriesAreLinearizable; from a random seed on; 0: 25 from seed 1 on, or 150 in the long run")
)

// linearLease is that of the dispatchers. It is less than go-redis waits for a reply.
const linearLease = 2 * time.Second

// linear are the keywords of histories.
var linear = [2]keywords.Keyword[string]{
	keywords.Define("stage", "LIN0", keywords.Spec[string]{Persist: true}),
	keywords.Define("stage", "LIN1", keywords.Spec[string]{Persist: true}),
}

// frozen is a cable whose dispatcher can be stopped as by SIGSTOP: what it sends arrives
// when it is continued, even over a connection that it has closed since.
type frozen struct {
	cable
	mu      sync.Mutex
	stopped bool
	conns   []*frozenConn
}

type frozenConn struct {
	net.Conn
	f      *frozen
	held   []byte
	closed bool
}

func (f *frozen) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := f.cable.dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	c := &frozenConn{Conn: conn, f: f}
	f.conns = append(f.conns, c)
	return c, nil
}

func (c *frozenConn) Write(p []byte) (int, error) {
	c.f.mu.Lock()
	if c.f.stopped {
		c.held = append(c.held, p...)
		c.f.mu.Unlock()
		return len(p), nil
	}
	c.f.mu.Unlock()
	return c.Conn.Write(p)
}

func (c *frozenConn) Close() error {
	c.f.mu.Lock()
	defer c.f.mu.Unlock()
	if len(c.held) == 0 {
		return c.Conn.Close()
	}
	c.closed = true
	return c.SetReadDeadline(time.Unix(1, 0))
}

func (f *frozen) stop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stopped = true
}

// resume continues the dispatcher. A write takes time, which does not pass in a bubble
// while another goroutine waits for a mutex.
func (f *frozen) resume() {
	type late struct {
		*frozenConn
		held []byte
	}
	var all []late
	f.mu.Lock()
	f.stopped = false
	for _, c := range f.conns {
		if len(c.held) > 0 {
			all = append(all, late{c, c.held})
			c.held = nil
		}
	}
	f.mu.Unlock()
	for _, c := range all {
		_, _ = c.Conn.Write(c.held)
		if c.closed {
			_ = c.Conn.Close()
		}
	}
}

// member is a dispatcher of a schedule.
type member struct {
	*running
	wire *frozen
}

// schedule runs operations and faults as its seed says. The scheduler of Go has a say
// too: a seed does not make the same history each time.
type schedule struct {
	*history
	t       *testing.T
	rand    *rand.Rand // of the faults
	network *storagetest.Network
	pool    *storage.Pool
	unique  atomic.Int64

	mu      sync.Mutex
	members []*member
}

// config returns that of a pool which logs nothing: faults are told by the thousand.
func (s *schedule) config() storage.Config {
	cfg := s.network.Config()
	cfg.Logger = slog.New(slog.DiscardHandler)
	return cfg
}

func (s *schedule) start() *member {
	m := &member{wire: &frozen{}}
	m.wire.cable.Network = s.network
	cfg := s.config()
	cfg.Redis.Dialer = m.wire.dial
	s.t.Cleanup(func() { time.Sleep(2 * time.Second) }) // go-redis dials once a second until its pool is closed
	pool := storagetest.Open(s.t, cfg)
	m.running = run(s.t, pool, keywords.DispatcherConfig{Lease: linearLease, Drain: time.Second}, func(d *keywords.Dispatcher) {
		keywords.Serve(d, linear[0], keywords.Hooks[string]{})
		keywords.Serve(d, linear[1], keywords.Hooks[string]{Write: func(context.Context, string) error {
			time.Sleep(rand.N(20 * time.Millisecond))
			return nil
		}})
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.members = append(s.members, m)
	return m
}

// any returns a dispatcher, perhaps one that is cut off or was replaced.
func (s *schedule) any(r *rand.Rand) *member {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.members[r.IntN(len(s.members))]
}

// client runs operations of one client until stop is closed.
func (s *schedule) client(r *rand.Rand, stop <-chan struct{}) {
	k := client(s.t, s.pool)
	var last [len(linear)]keywords.Revision
	for !isClosed(stop) {
		at := r.IntN(len(linear))
		switch dice := r.IntN(10); {
		case dice < 3:
			s.read(k, at, &last[at])
		case dice < 6:
			s.modify(k, at, &last[at], false)
		case dice < 8:
			s.modify(k, at, &last[at], true)
		default:
			s.set(s.any(r), at)
		}
		time.Sleep(time.Duration(r.IntN(200)) * time.Millisecond)
	}
}

// patience of a client of a schedule, in virtual time.
const linearTimeout = 3 * time.Second

func (s *schedule) operation(kind operationKind, at int) operation {
	op := operation{kind: kind, keyword: linear[at].Name()}
	if kind != opRead {
		op.value = fmt.Sprint("v", s.unique.Add(1))
	}
	return op
}

func (s *schedule) read(k *keywords.Client, at int, last *keywords.Revision) error {
	ctx, cancel := context.WithTimeout(context.Background(), linearTimeout)
	defer cancel()
	op := s.begin(s.operation(opRead, at))
	v, err := keywords.Read(ctx, k, linear[at])
	switch {
	case err == nil:
		op.value, *last = v.V, v.Rev
		s.end(op, v.Rev)
	case errors.Is(err, keywords.ErrNoValue) || errors.Is(err, keywords.CodeUnknownKeyword):
		s.end(op, keywords.Revision{})
	}
	return err
}

func (s *schedule) modify(k *keywords.Client, at int, last *keywords.Revision, conditional bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), linearTimeout)
	defer cancel()
	op := s.operation(opModify, at)
	var opts []keywords.ModifyOptions
	if only := *last; conditional && only != (keywords.Revision{}) {
		op.only = &only
		opts = append(opts, keywords.ModifyOptions{IfRevision: only})
	}
	began := s.begin(op)
	rev, err := keywords.Modify(ctx, k, linear[at], op.value, opts...)
	if err == nil {
		*last = rev
		s.end(began, rev)
	} else {
		s.failed(began, err)
	}
	return err
}

func (s *schedule) set(m *member, at int) {
	ctx, cancel := context.WithTimeout(context.Background(), linearTimeout)
	defer cancel()
	op := s.begin(s.operation(opSet, at))
	if err := keywords.Set(ctx, m.Dispatcher, linear[at], op.value); err == nil {
		s.end(op, keywords.Revision{})
	} else {
		s.failed(op, err)
	}
}

// failed notes the error of a write, as the documentation says what it means.
func (s *schedule) failed(op *operation, err error) {
	var refused *keywords.Error
	switch {
	case errors.Is(err, keywords.CodeRevision):
		s.refuse(op)
	case errors.As(err, &refused), errors.Is(err, keywords.ErrNoDispatcher), errors.Is(err, keywords.ErrQueueFull):
	default:
		s.unknown(op)
	}
}

// serves waits until a dispatcher serves that can reach Redis, and has written its values.
func (s *schedule) serves() {
	k := client(s.t, s.pool)
	var last keywords.Revision
	for begun := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		if s.modify(k, 0, &last, false) == nil {
			return
		}
		if time.Since(begun) > time.Minute {
			s.t.Error("no dispatcher serves")
			return
		}
	}
}

// epoch returns the epoch and the number of its newest value that Redis holds.
func (s *schedule) epoch() (e, n string) {
	m := s.pool.Redis().HMGet(context.Background(), "kw:{stage}:meta:main", "e", "n").Val()
	if len(m) == 2 {
		e, _ = m[0].(string)
		n, _ = m[1].(string)
	}
	return e, n
}

// restored waits until what Redis has lost is written again. The clocks of two tenures
// differ, and a restore of so few values is one commit.
func (s *schedule) restored(lost string) {
	for begun := time.Now(); time.Since(begun) < time.Minute; time.Sleep(5 * time.Millisecond) {
		if e, n := s.epoch(); e > lost && n != "0" {
			return
		}
	}
	e, n := s.epoch()
	s.t.Errorf("what Redis has lost is never restored: it has %s:%s after %s", e, n, lost)
}

// replace starts a standby, takes the dispatcher that serves away, waits until the standby
// serves, and brings the other dispatcher back if back is not nil.
func (s *schedule) replace(away, back func()) *member {
	next := s.start()
	s.pause()
	away()
	next.wait()
	if back != nil {
		s.pause()
		back()
	}
	return next
}

// pause sleeps up to 0.3 s.
func (s *schedule) pause() { time.Sleep(time.Duration(s.rand.IntN(300)) * time.Millisecond) }

// faults are what befalls a schedule, each by itself. Redis loses data only while a
// dispatcher serves: it knows the values.
var faults = map[string]func(s *schedule, serving *member) (next *member){
	"cut": func(s *schedule, m *member) *member {
		for range 1 + s.rand.IntN(3) {
			s.network.Cut()
			time.Sleep(time.Duration(s.rand.IntN(30)) * time.Millisecond)
		}
		return m
	},
	"outage": func(s *schedule, m *member) *member {
		s.network.Down()
		time.Sleep(time.Duration(s.rand.Int64N(int64(2 * linearLease))))
		s.network.Up()
		return m
	},
	"kill": func(s *schedule, m *member) *member { return s.replace(m.wire.pull, nil) },
	"pull": func(s *schedule, m *member) *member { return s.replace(m.wire.pull, m.wire.plug) },
	"stop": func(s *schedule, m *member) *member { return s.replace(m.wire.stop, m.wire.resume) },
	"flush": func(s *schedule, m *member) *member {
		epoch, _ := s.epoch()
		s.lose(func() { require.NoError(s.t, s.pool.Redis().FlushAll(context.Background()).Err()) }, func() { s.restored(epoch) })
		return m
	},
	"rollback": func(s *schedule, m *member) *member {
		restore := snap(s.t, s.pool)
		s.serves() // which the snapshot lacks
		time.Sleep(time.Duration(s.rand.IntN(2000)) * time.Millisecond)
		epoch, _ := s.epoch()
		s.lose(restore, func() { s.restored(epoch) })
		return m
	},
}

var faultNames = []string{"cut", "outage", "kill", "pull", "stop", "flush", "rollback"}

// runSchedule returns the history of a schedule, and its faults.
func runSchedule(t *testing.T, seed uint64) (h *history, befell []string) {
	h = &history{}
	synctest.Test(t, func(t *testing.T) {
		s := &schedule{history: h, t: t, rand: rand.New(rand.NewPCG(seed, 0)), network: storagetest.NewNetwork(t)}
		t.Cleanup(func() {
			if t.Failed() {
				t.Logf("-linear.seed=%d, after %v", seed, befell)
			}
		})
		s.pool = storagetest.Open(t, s.config())
		serving := s.start()
		serving.wait()
		stop := make(chan struct{})
		var clients sync.WaitGroup
		for i := range uint64(3) {
			clients.Go(func() { s.client(rand.New(rand.NewPCG(seed, i+1)), stop) })
		}
		for range 1 + s.rand.IntN(3) {
			s.serves()
			time.Sleep(time.Duration(s.rand.IntN(500)) * time.Millisecond)
			name := faultNames[s.rand.IntN(len(faultNames))]
			befell = append(befell, name)
			serving = faults[name](s, serving)
		}
		s.serves()
		time.Sleep(500 * time.Millisecond)
		close(stop)
		clients.Wait()
		s.serves()
		k := client(t, s.pool)
		for i := range linear {
			var last keywords.Revision
			require.Eventually(t, func() bool { // the connection may have been cut
				err := s.read(k, i, &last)
				return err == nil || errors.Is(err, keywords.ErrNoValue) // no write of a short history may have succeeded
			}, time.Minute, 10*time.Millisecond)
		}
	})
	return h, befell
}

// The keywords are linearizable, whatever befalls dispatchers, connections and Redis; see
// history for what that means while Redis has lost data.
func TestHistoriesAreLinearizable(t *testing.T) {
	t.Parallel()
	seeds, base := 25, uint64(1)
	switch {
	case *linearSeed != 0:
		seeds, base = 1, *linearSeed
	case *linearSchedules != 0:
		seeds, base = *linearSchedules, rand.Uint64()
	case os.Getenv("HELIOGRAPH_TESTS") == "long":
		seeds = 150
	}
	ops := 0
	for i := range seeds {
		seed := base + uint64(i)
		h, befell := runSchedule(t, seed)
		if err := h.check(); err != nil {
			t.Fatalf("-linear.seed=%d after %v: %v", seed, befell, err)
		}
		ops += len(h.ops) + len(h.refused)
	}
	t.Logf("%d operations in %d schedules from seed %d", ops, seeds, base)
}
