package keywords_test

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/keywords"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

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
	*workload
	rand    *rand.Rand // of the faults
	network *storagetest.Network

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
		serveLinear(d, 100*time.Millisecond)
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

// replace starts a standby, takes the dispatcher that serves away, waits until the standby
// serves, and brings the other dispatcher back if back is not nil.
func (s *schedule) replace(away, back func()) *member {
	next := s.start()
	s.idle()
	away()
	next.wait()
	if back != nil {
		s.idle()
		back()
	}
	return next
}

// idle sleeps up to 0.3 s.
func (s *schedule) idle() { time.Sleep(time.Duration(s.rand.IntN(300)) * time.Millisecond) }

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
	"network": func(s *schedule, m *member) *member {
		lasting := storagetest.Faults[:len(storagetest.Faults)-3] // the others lose data
		s.network.Befall(lasting[s.rand.IntN(len(lasting))], s.rand, 2*linearLease)
		return m
	},
	"kill": func(s *schedule, m *member) *member { return s.replace(m.wire.pull, nil) },
	"pull": func(s *schedule, m *member) *member { return s.replace(m.wire.pull, m.wire.plug) },
	"stop": func(s *schedule, m *member) *member { return s.replace(m.wire.stop, m.wire.resume) },
	"flush": func(s *schedule, m *member) *member {
		epoch, _ := s.epoch()
		s.Lose(func() { require.NoError(s.t, s.pool.Redis().FlushAll(context.Background()).Err()) }, func() { s.restored(epoch) })
		return m
	},
	"rollback": func(s *schedule, m *member) *member {
		restore := snap(s.t, s.pool)
		s.serves() // which the snapshot lacks
		time.Sleep(time.Duration(s.rand.IntN(2000)) * time.Millisecond)
		epoch, _ := s.epoch()
		s.Lose(restore, func() { s.restored(epoch) })
		return m
	},
}

var faultNames = []string{"cut", "outage", "kill", "pull", "stop", "flush", "rollback", "network"}

// The keywords are linearizable, whatever befalls dispatchers, connections and Redis; see
// [history.Registers] for what that means while Redis has lost data. Nothing is committed
// by a dispatcher that was replaced.
func TestHistoriesAreLinearizableInSchedules(t *testing.T) {
	t.Parallel()
	storagetest.Schedules(t, storagetest.ScheduleOptions{Long: linearLong}, func(t *testing.T, seed uint64) {
		s := &schedule{workload: &workload{t: t, pause: 200 * time.Millisecond}, rand: rand.New(rand.NewPCG(seed, 0)), network: storagetest.NewNetwork(t)}
		var befell []string
		defer func() {
			if t.Failed() {
				t.Log("after ", befell)
			}
		}()
		s.pool = storagetest.Open(t, s.config())
		s.setBy = func(ctx context.Context, r *rand.Rand, at int, value string) error {
			return keywords.Set(ctx, s.any(r).Dispatcher, linear[at], value)
		}
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
		s.finish()
		require.NoError(t, s.check())
	})
}

// linearLong is the number of schedules in the long run. One takes half a second of a
// processor with the race detector.
const linearLong = 150
