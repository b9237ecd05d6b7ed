package keywords_test

import (
	"context"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/keywords"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// snapshot is what Redis held of a service at a moment.
type snapshot struct {
	hashes  map[string]map[string]string
	streams map[string][]redis.XMessage
}

// snap reads the keys of a service. restore writes them back, in the place of those
// that there are, as a Redis that comes back with an older snapshot: leases, which are
// strings with a TTL, have expired by then.
func snap(t *testing.T, pool *storage.Pool) (restore func()) {
	t.Helper()
	ctx, rdb := t.Context(), pool.Redis()
	s := snapshot{map[string]map[string]string{}, map[string][]redis.XMessage{}}
	keys := func() []string {
		keys, err := rdb.Keys(ctx, "kw:*").Result()
		require.NoError(t, err)
		return keys
	}
	for _, key := range keys() {
		switch rdb.Type(ctx, key).Val() {
		case "hash":
			s.hashes[key] = rdb.HGetAll(ctx, key).Val()
		case "stream":
			s.streams[key] = rdb.XRange(ctx, key, "-", "+").Val()
		}
	}
	return func() {
		t.Helper()
		var err error
		for range 10 { // over a connection that was cut, perhaps
			pipe := rdb.TxPipeline()
			pipe.Del(ctx, keys()...)
			for key, fields := range s.hashes {
				pipe.HSet(ctx, key, fields)
			}
			for key, lines := range s.streams {
				for _, line := range lines {
					pipe.XAdd(ctx, &redis.XAddArgs{Stream: key, ID: line.ID, Values: line.Values})
				}
			}
			_, err = pipe.Exec(ctx)
			if err == nil {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		require.NoError(t, err)
	}
}

func TestARevisionIsNeverUsedTwice(t *testing.T) {
	storagetest.Virtual(t, func(t *testing.T, pool *storage.Pool) {
		ctx, k := t.Context(), client(t, pool)
		d := run(t, pool, keywords.DispatcherConfig{}, nil).wait()
		before, err := keywords.Modify(ctx, k, Note, "before")
		require.NoError(t, err)
		restore := snap(t, pool)
		lost, err := keywords.Modify(ctx, k, Note, "lost")
		require.NoError(t, err)
		require.Positive(t, lost.Compare(before))
		d.stop()
		require.NoError(t, <-d.ended)

		restore()
		run(t, pool, keywords.DispatcherConfig{}, nil).wait()
		v, err := keywords.Read(ctx, k, Note)
		require.NoError(t, err)
		require.Equal(t, "before", v.V)
		require.Positive(t, v.Rev.Compare(lost))
		rev, err := keywords.Modify(ctx, k, Note, "another")
		require.NoError(t, err)
		require.Positive(t, rev.Compare(v.Rev))
		_, err = keywords.Modify(ctx, k, Note, "conditional", keywords.ModifyOptions{IfRevision: lost})
		require.ErrorIs(t, err, keywords.CodeRevision)
	})
}

// Redis comes back with an older snapshot while nothing is set: the dispatcher notices
// at its next renewal, and writes what it knows.
func TestARollbackIsNoticedAtTheNextRenewal(t *testing.T) {
	storagetest.Virtual(t, func(t *testing.T, pool *storage.Pool) {
		ctx, k := t.Context(), client(t, pool)
		run(t, pool, keywords.DispatcherConfig{}, nil).wait()
		for _, forget := range []func(){snap(t, pool), func() { require.NoError(t, pool.Redis().FlushDB(ctx).Err()) }} {
			rev, err := keywords.Modify(ctx, k, Note, "kept")
			require.NoError(t, err)
			forget()
			time.Sleep(2 * time.Second) // a third of the lease, and its commit
			v, err := keywords.Read(ctx, k, Note)
			require.NoError(t, err)
			require.Equal(t, "kept", v.V)
			require.Positive(t, v.Rev.Compare(rev))
			require.Equal(t, keywords.QualityGood, v.Quality)
		}
	})
}

// Redis comes back with a snapshot from before the dispatcher's start, in which an
// earlier one had the lease: the only dispatcher that there is goes on.
func TestTheOnlyDispatcherSurvivesASnapshotOlderThanItsStart(t *testing.T) {
	storagetest.Virtual(t, func(t *testing.T, pool *storage.Pool) {
		ctx, k := t.Context(), client(t, pool)
		earlier := run(t, pool, keywords.DispatcherConfig{}, nil).wait()
		restore := snap(t, pool)
		owner := pool.Redis().Get(ctx, "kw:{stage}:own:main").Val()
		earlier.stop()
		require.NoError(t, <-earlier.ended)
		d := run(t, pool, keywords.DispatcherConfig{}, nil).wait()
		_, err := keywords.Modify(ctx, k, Note, "kept")
		require.NoError(t, err)

		restore()
		require.NoError(t, pool.Redis().Set(ctx, "kw:{stage}:own:main", owner, time.Hour).Err())
		_, err = keywords.Modify(ctx, k, Speed, 2)
		require.NoError(t, err)
		v, err := keywords.Read(ctx, k, Note)
		require.NoError(t, err)
		require.Equal(t, "kept", v.V)
		select {
		case err := <-d.ended:
			t.Fatal("the dispatcher ended: ", err)
		default:
		}
	})
}

// fence has another dispatcher acquire the lease, as far as Redis knows.
func fence(t *testing.T, pool *storage.Pool) {
	t.Helper()
	const number = "9000000000000000"
	require.NoError(t, pool.Redis().HSet(t.Context(), "kw:{stage}:fence", "main", number).Err())
	require.NoError(t, pool.Redis().Set(t.Context(), "kw:{stage}:own:main", number+":another", time.Minute).Err())
}

func TestAModifyIsIndeterminateOnceItsHookHasRun(t *testing.T) {
	storagetest.Virtual(t, func(t *testing.T, pool *storage.Pool) {
		ctx, k := t.Context(), client(t, pool)
		begun, leave := make(chan struct{}), make(chan struct{})
		d := run(t, pool, keywords.DispatcherConfig{}, func(d *keywords.Dispatcher) {
			keywords.Serve(d, Speed, keywords.Hooks[float64]{Write: func(context.Context, float64) error {
				close(begun)
				<-leave
				return nil
			}})
			keywords.Serve(d, Note, keywords.Hooks[string]{})
		}).wait()
		ended := make(chan error, 2)
		go func() {
			_, err := keywords.Modify(ctx, k, Speed, 2)
			ended <- err
		}()
		<-begun
		waits := make(chan error, 1)
		go func() {
			_, err := keywords.Modify(ctx, k, Note, "not begun")
			waits <- err
		}()
		synctest.Wait()
		fence(t, pool)
		close(leave)
		require.ErrorIs(t, <-ended, keywords.ErrIndeterminate)
		require.ErrorIs(t, <-d.ended, keywords.CodeFenced)
		err := <-waits
		require.NotErrorIs(t, err, keywords.ErrIndeterminate, "it was not begun")
		require.Error(t, err)
	})
}

// cable connects a pool to the network, until it is pulled.
type cable struct {
	*storagetest.Network
	mu     sync.Mutex
	pulled bool
	conns  []net.Conn
}

func (c *cable) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pulled {
		return nil, &net.OpError{Op: "dial", Net: network, Err: net.ErrClosed}
	}
	conn, err := c.Network.Dial(ctx, network, addr)
	if err == nil {
		c.conns = append(c.conns, conn)
	}
	return conn, err
}

func (c *cable) pull() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pulled = true
	for _, conn := range c.conns {
		_ = conn.Close()
	}
	c.conns = nil
}

func (c *cable) plug() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pulled = false
}

func (c *cable) pool(t *testing.T) *storage.Pool {
	t.Cleanup(func() { time.Sleep(2 * time.Second) }) // go-redis dials once a second until its pool is closed
	cfg := c.Config()
	cfg.Redis.Dialer = c.dial
	return storagetest.Open(t, cfg)
}

// A dispatcher that can't reach Redis has ended the context of its hooks before another
// one runs hooks, and runs none itself from then on.
func TestHooksEndBeforeAnotherDispatcherBegins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := storagetest.NewNetwork(t)
		wire := &cable{Network: network}
		pool := storagetest.Open(t, network.Config())
		const lease = 5 * time.Second
		begun, ended := make(chan struct{}), make(chan time.Time, 1)
		d := run(t, wire.pool(t), keywords.DispatcherConfig{Lease: lease}, func(d *keywords.Dispatcher) {
			keywords.Serve(d, Speed, keywords.Hooks[float64]{
				Write: func(ctx context.Context, _ float64) error {
					close(begun)
					<-ctx.Done()
					ended <- time.Now()
					return context.Cause(ctx)
				},
				Period: time.Second,
				Read: func(ctx context.Context) (float64, error) {
					return 1, ctx.Err()
				},
			})
		}).wait()
		k := client(t, pool)
		outcome := make(chan error, 1)
		go func() {
			_, err := keywords.Modify(t.Context(), k, Speed, 2)
			outcome <- err
		}()
		<-begun
		standby := run(t, pool, keywords.DispatcherConfig{Lease: lease}, nil)
		wire.pull()
		stopped := <-ended
		select {
		case <-standby.Ready():
			t.Fatal("the standby began before the hook's context ended")
		default:
		}
		<-standby.Ready()
		margin := time.Since(stopped)
		t.Log("the standby is ready", margin, "after the hooks of the first have ended")
		require.GreaterOrEqual(t, margin, lease/10)
		require.ErrorIs(t, <-outcome, keywords.ErrIndeterminate)
		wire.plug()
		require.ErrorIs(t, <-d.ended, keywords.CodeFenced)
	})
}

// Redis is away for longer than the lease, and no other dispatcher waits: the
// dispatcher goes on when it is back, and keeps what was set meanwhile.
func TestADispatcherOutlivesAnOutageLongerThanItsLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := storagetest.NewNetwork(t)
		wire := &cable{Network: network}
		d := run(t, wire.pool(t), keywords.DispatcherConfig{}, nil).wait()
		k := client(t, storagetest.Open(t, network.Config()))
		wire.pull()
		set := make(chan error, 1)
		go func() { set <- keywords.Set(t.Context(), d.Dispatcher, Count, 7) }()
		time.Sleep(time.Minute)
		v, err := keywords.Read(t.Context(), k, Speed)
		require.NoError(t, err)
		require.Equal(t, keywords.QualityStale, v.Quality)
		wire.plug()
		require.NoError(t, <-set)
		n, err := keywords.Read(t.Context(), k, Count)
		require.NoError(t, err)
		require.Equal(t, 7, n.V)
		require.Equal(t, keywords.QualityGood, n.Quality)
		time.Sleep(5 * time.Second) // until its worker is listed again
		_, err = keywords.Modify(t.Context(), k, Speed, 3)
		require.NoError(t, err)
	})
}

func TestACleanEndWakesTheStandby(t *testing.T) {
	storagetest.Virtual(t, func(t *testing.T, pool *storage.Pool) {
		first := run(t, pool, keywords.DispatcherConfig{Lease: time.Hour}, nil).wait()
		standby := run(t, pool, keywords.DispatcherConfig{Lease: time.Hour}, nil)
		time.Sleep(time.Minute)
		first.stop()
		require.NoError(t, <-first.ended)
		ended := time.Now()
		<-standby.Ready()
		require.Less(t, time.Since(ended), time.Second, "virtual time")
	})
}

func TestIfRevisionIsCheckedAgainAtTheCommit(t *testing.T) {
	storagetest.Virtual(t, func(t *testing.T, pool *storage.Pool) {
		ctx, k := t.Context(), client(t, pool)
		var d *running
		d = run(t, pool, keywords.DispatcherConfig{}, func(disp *keywords.Dispatcher) {
			keywords.Serve(disp, Speed, keywords.Hooks[float64]{Write: func(ctx context.Context, v float64) error {
				if v == 3 {
					return keywords.Set(ctx, d.Dispatcher, Speed, 9)
				}
				return nil
			}})
		})
		d.wait()
		rev, err := keywords.Modify(ctx, k, Speed, 2)
		require.NoError(t, err)
		_, err = keywords.Modify(ctx, k, Speed, 3, keywords.ModifyOptions{IfRevision: rev})
		require.ErrorIs(t, err, keywords.CodeRevision)
		v, err := keywords.Read(ctx, k, Speed)
		require.NoError(t, err)
		require.Equal(t, 9.0, v.V)
	})
}

func TestADeadBandKeepsNoAlarm(t *testing.T) {
	temp := keywords.Define("stage", "TEMP", keywords.Spec[float64]{
		DeadBand: 0.5, Alarm: keywords.Alarm{HighMinor: new(80.0)}, ReadOnly: true, Initial: new(79.9),
	})
	storagetest.Virtual(t, func(t *testing.T, pool *storage.Pool) {
		ctx, k := t.Context(), client(t, pool)
		measured := 80.2
		d := run(t, pool, keywords.DispatcherConfig{}, func(d *keywords.Dispatcher) {
			keywords.Serve(d, temp, keywords.Hooks[float64]{Read: func(context.Context) (float64, error) { return measured, nil }})
		}).wait()
		v, err := keywords.Read(ctx, k, temp, keywords.ReadOptions{Refresh: true})
		require.NoError(t, err)
		require.Equal(t, 80.2, v.V)
		require.Equal(t, keywords.SeverityMinor, v.Severity)
		require.NoError(t, keywords.Set(ctx, d.Dispatcher, temp, 79.8))
		v, err = keywords.Read(ctx, k, temp)
		require.NoError(t, err)
		require.Equal(t, 79.8, v.V)
		require.NoError(t, keywords.Set(ctx, d.Dispatcher, temp, 79.9))
		v, err = keywords.Read(ctx, k, temp)
		require.NoError(t, err)
		require.Equal(t, 79.8, v.V, "inside the band")
	})
}

// A dispatcher that was replaced while it was cut off does not know that. Where Redis
// forgets everything before it comes back, its successor, which has committed since, keeps
// the lease.
func TestAReplacedDispatcherDoesNotComeBackAfterFlush(t *testing.T) {
	for phase := range 9 { // of the second's renewals
		aReplacedDispatcherComesBack(t, time.Duration(phase)*200*time.Millisecond)
	}
}

func aReplacedDispatcherComesBack(t *testing.T, phase time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		network := storagetest.NewNetwork(t)
		wire := &cable{Network: network}
		pool := storagetest.Open(t, network.Config())
		first := run(t, wire.pool(t), keywords.DispatcherConfig{}, nil).wait()
		wire.pull()
		second := run(t, pool, keywords.DispatcherConfig{}, nil).wait()
		ctx, k := t.Context(), client(t, pool)
		_, err := keywords.Modify(ctx, k, Note, "of the second")
		require.NoError(t, err)
		time.Sleep(phase)
		require.NoError(t, pool.Redis().FlushDB(ctx).Err())
		wire.plug()
		require.ErrorIs(t, <-first.ended, keywords.CodeFenced)
		// The second has renewed its lease, and is about to commit its values again.
		v, err := keywords.WaitFor(soon(t), k, Note, func(string) bool { return true })
		require.NoError(t, err)
		require.Equal(t, "of the second", v.V)
		select {
		case err := <-second.ended:
			t.Fatal("the second ended: ", err)
		default:
		}
	})
}

// The commit script answers the writer, which may use its revision before the dispatcher
// has heard that the script ran.
func TestARevisionIsGoodAsSoonAsItsWriterHasIt(t *testing.T) {
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		run(t, pool, keywords.DispatcherConfig{}, nil).wait()
		ctx, k := soon(t), client(t, pool)
		rev, err := keywords.Modify(ctx, k, Speed, 1)
		require.NoError(t, err)
		for i := range 300 {
			rev, err = keywords.Modify(ctx, k, Speed, float64(i%20), keywords.ModifyOptions{IfRevision: rev})
			require.NoError(t, err, "modify %d", i)
		}
	})
}
