package storage_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// patience bounds what must happen soon.
const patience = 20 * time.Second

func newPresence(t *testing.T, pool *storage.Pool, owner string, opts ...storage.PresenceOptions) *storage.Presence[string] {
	t.Helper()
	var o storage.PresenceOptions
	for _, o = range opts {
	}
	o.Owner, o.Codec = owner, storage.Text
	p, err := storage.NewPresence[string](pool, "online", o)
	require.NoError(t, err)
	return p
}

// present is who is there, as member@owner.
func present(t *testing.T, p *storage.Presence[string]) []string {
	t.Helper()
	there := []string{}
	for e, err := range p.All(t.Context()) {
		require.NoError(t, err)
		there = append(there, e.Member+"@"+e.Owner)
	}
	slices.Sort(there)
	return there
}

func TestPresence(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		ctx := t.Context()
		a, b := newPresence(t, pool, "a"), newPresence(t, storagetest.Open(t, pool.Config()), "b")
		require.Equal(t, "a", a.Owner())
		require.Empty(t, present(t, a))
		owners, err := a.Owners(ctx)
		require.NoError(t, err)
		require.Empty(t, owners)
		in, err := a.Contains(ctx, "ann")
		require.NoError(t, err)
		require.False(t, in)

		counts := func(want int) func(n int, err error) {
			return func(n int, err error) {
				t.Helper()
				require.NoError(t, err)
				require.Equal(t, want, n)
			}
		}
		counts(0)(a.Add(ctx))
		counts(0)(a.Remove(ctx, "ann"))
		counts(2)(a.Add(ctx, "ann", "bob", "ann"))
		counts(1)(a.Add(ctx, "bob", "cid"))
		counts(1)(b.Add(ctx, "ann"))
		require.Equal(t, []string{"ann@a", "ann@b", "bob@a", "cid@a"}, present(t, b))
		counts(1)(a.Remove(ctx, "ann", "dan", "ann"))
		counts(0)(b.Remove(ctx, "bob"))
		for member, want := range map[string]bool{"ann": true, "bob": true, "dan": false} {
			in, err := b.Contains(ctx, member)
			require.NoError(t, err)
			require.Equal(t, want, in, member)
		}
		owners, err = a.Owners(ctx)
		require.NoError(t, err)
		require.Equal(t, []string{"a", "b"}, owners)
		counts(1)(b.Remove(ctx, "ann"))
		owners, err = a.Owners(ctx)
		require.NoError(t, err)
		require.Equal(t, []string{"a"}, owners)
		counts(1)(b.Add(ctx, "ann"))

		require.NoError(t, a.Close())
		require.Equal(t, []string{"ann@b"}, present(t, b))
		require.NoError(t, a.Close())
		_, err = a.Add(ctx, "x")
		require.ErrorIs(t, err, storage.ErrClosed)
		_, err = a.Remove(ctx, "x")
		require.ErrorIs(t, err, storage.ErrClosed)
		require.NoError(t, b.Close())
		require.Empty(t, pool.Redis().Keys(ctx, "*").Val())
	})
}

func TestPresenceIsRenewed(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		p := newPresence(t, pool, "a", storage.PresenceOptions{Lease: time.Second})
		_, err := p.Add(t.Context(), "ann")
		require.NoError(t, err)
		key := "{online}:of:a"
		for range 2 { // shorten the lease: it grows again
			require.True(t, pool.Redis().PExpire(t.Context(), key, 600*time.Millisecond).Val())
			require.Eventually(t, func() bool {
				return pool.Redis().PTTL(t.Context(), key).Val() > 700*time.Millisecond
			}, patience, time.Millisecond)
		}
		require.Positive(t, pool.Redis().PTTL(t.Context(), "{online}:owners").Val())
		require.Equal(t, []string{"ann@a"}, present(t, p))
	})
}

const presenceProcess = "HELIOGRAPH_PRESENCE_PROCESS"

// With presenceProcess set, this process is an owner that waits for its end.
func init() {
	addr := os.Getenv(presenceProcess)
	if addr == "" {
		return
	}
	pool, err := storage.Open(storage.Config{Redis: redis.UniversalOptions{Addrs: []string{addr}}})
	if err == nil {
		var p *storage.Presence[string]
		p, err = storage.NewPresence[string](pool, "online", storage.PresenceOptions{Owner: "doomed", Codec: storage.Text, Lease: time.Second})
		if err == nil {
			if _, err = p.Add(context.Background(), "ann", "bob"); err == nil {
				select {}
			}
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func TestPresenceOfAProcessThatIsKilledEnds(t *testing.T) {
	t.Parallel()
	srv := storagetest.Start(t)
	pool := storagetest.Open(t, srv.Config())
	p := newPresence(t, pool, "a", storage.PresenceOptions{Lease: time.Second})
	_, err := p.Add(t.Context(), "ann")
	require.NoError(t, err)
	proc := exec.Command(os.Args[0])
	proc.Env = append(os.Environ(), presenceProcess+"="+srv.Addr())
	proc.Stderr = os.Stderr
	require.NoError(t, proc.Start())
	defer func() { _ = proc.Process.Kill(); _ = proc.Wait() }()
	require.Eventually(t, func() bool { return len(present(t, p)) == 3 }, patience, 10*time.Millisecond)
	require.NoError(t, proc.Process.Kill())
	require.Eventually(t, func() bool { return len(present(t, p)) == 1 }, patience, 10*time.Millisecond)
	owners, err := p.Owners(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"a"}, owners)
	require.Eventually(t, func() bool { // and is struck off by who lives
		return pool.Redis().ZCard(t.Context(), "{online}:owners").Val() == 1
	}, patience, 10*time.Millisecond)
	require.EqualValues(t, 2, pool.Redis().DBSize(t.Context()).Val())
}

// cable connects a pool to its server until it is cut.
type cable struct {
	mu    sync.Mutex
	isCut bool
	conns []net.Conn
}

func (c *cable) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isCut {
		return nil, fmt.Errorf("the cable is cut")
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, addr)
	if err == nil {
		c.conns = append(c.conns, conn)
	}
	return conn, err
}

func (c *cable) cut(isCut bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.isCut = isCut
	for _, conn := range c.conns {
		_ = conn.Close()
	}
	c.conns = nil
}

func TestPresenceComesBackWithTheConnection(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		ctx := t.Context()
		var wire cable
		cfg := pool.Config()
		cfg.Redis.Dialer = wire.dial
		far := newPresence(t, storagetest.Open(t, cfg), "far", storage.PresenceOptions{Lease: 600 * time.Millisecond})
		near := newPresence(t, pool, "near")
		_, err := far.Add(ctx, "ann", "bob")
		require.NoError(t, err)
		require.Equal(t, []string{"ann@far", "bob@far"}, present(t, near))

		wire.cut(true)
		require.Eventually(t, func() bool { return len(present(t, near)) == 0 }, patience, 10*time.Millisecond)
		short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		_, err = far.Add(short, "cid")
		require.Error(t, err, "not held")
		cancel()
		short, cancel = context.WithTimeout(ctx, 50*time.Millisecond)
		_, err = far.Remove(short, "bob")
		require.Error(t, err, "not held any more")
		cancel()
		wire.cut(false)
		require.Eventually(t, func() bool { return slices.Equal(present(t, near), []string{"ann@far"}) }, patience, 10*time.Millisecond)

		wire.cut(true)
		require.Error(t, far.Close(), "it ends with the lease")
		require.Eventually(t, func() bool { return len(present(t, near)) == 0 }, patience, 10*time.Millisecond)
	})
}

// A Redis that has lost everything gets it back.
func TestPresenceComesBackAfterARestart(t *testing.T) {
	t.Parallel()
	srv := storagetest.Start(t)
	p := newPresence(t, storagetest.Open(t, srv.Config()), "a", storage.PresenceOptions{Lease: time.Second})
	_, err := p.Add(t.Context(), "ann", "bob")
	require.NoError(t, err)
	srv.Restart()
	require.Eventually(t, func() bool { return len(present(t, p)) == 2 }, patience, 10*time.Millisecond)
	srv.Restart() // who adds or removes finds out at once
	_, err = p.Add(t.Context(), "cid")
	require.NoError(t, err)
	require.Equal(t, []string{"ann@a", "bob@a", "cid@a"}, present(t, p))
	srv.Restart()
	_, err = p.Remove(t.Context(), "ann")
	require.NoError(t, err)
	require.Equal(t, []string{"bob@a", "cid@a"}, present(t, p))
}

// What a predecessor of the same name left is not held.
func TestPresenceBeginsAnew(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		require.NoError(t, pool.Redis().SAdd(t.Context(), "{online}:of:a", "ghost").Err())
		p := newPresence(t, pool, "a")
		_, err := p.Add(t.Context(), "ann")
		require.NoError(t, err)
		require.Equal(t, []string{"ann@a"}, present(t, p))
	})
}

func TestPresenceOfMany(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		p := newPresence(t, pool, "a", storage.PresenceOptions{MaxMembers: 10_000})
		var all []string
		for i := range 10_000 {
			all = append(all, fmt.Sprint(i))
		}
		n, err := p.Add(t.Context(), all...)
		require.NoError(t, err)
		require.Equal(t, len(all), n)
		slices.Sort(all)
		for i := range all {
			all[i] += "@a"
		}
		slices.Sort(all)
		require.Equal(t, all, present(t, p))
		_, err = p.Add(t.Context(), "one more")
		require.ErrorIs(t, err, storage.ErrFull)
		_, err = p.Add(t.Context(), "1")
		require.NoError(t, err)
	})
}

func TestPresenceAtTheSameTime(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		p := newPresence(t, pool, "a", storage.PresenceOptions{Lease: 100 * time.Millisecond})
		var done sync.WaitGroup
		for w := range 8 {
			done.Go(func() {
				for i := range 50 {
					member := fmt.Sprint(w, "-", i)
					if n, err := p.Add(t.Context(), member); err != nil || n != 1 {
						panic(fmt.Sprint(n, err))
					}
					if i%2 == 1 {
						continue
					}
					if n, err := p.Remove(t.Context(), member); err != nil || n != 1 {
						panic(fmt.Sprint(n, err))
					}
				}
			})
		}
		done.Wait()
		require.Len(t, present(t, p), 8*25)
	})
}

func TestPresenceInACluster(t *testing.T) {
	storagetest.Long(t)
	t.Parallel()
	pool := storagetest.Open(t, storagetest.StartCluster(t).Config())
	for _, name := range []string{"a", "b", "c", "d"} {
		p, err := storage.NewPresence[int](pool, name)
		require.NoError(t, err)
		require.Len(t, p.Owner(), 26, "a random one")
		_, err = p.Add(t.Context(), 1, 2)
		require.NoError(t, err)
		_, err = p.Remove(t.Context(), 1)
		require.NoError(t, err)
		in, err := p.Contains(t.Context(), 2)
		require.NoError(t, err)
		require.True(t, in)
		owners, err := p.Owners(t.Context())
		require.NoError(t, err)
		require.Len(t, owners, 1)
		require.NoError(t, p.Close())
	}
}

func TestPresenceBadInput(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		ctx := t.Context()
		for want, opts := range map[string]storage.PresenceOptions{
			"PresenceOptions.Owner: name":       {Owner: "a b"},
			"PresenceOptions.Codec: no codec":   {Codec: 9},
			"PresenceOptions.Lease: 1ms is les": {Lease: time.Millisecond},
			"PresenceOptions.MaxMembers: -1 is": {MaxMembers: -1},
		} {
			_, err := storage.NewPresence[int](pool, "x", opts)
			require.ErrorContains(t, err, want)
		}
		_, err := storage.NewPresence[int](pool, "")
		require.ErrorContains(t, err, "empty name")
		_, err = storage.NewPresence[int](nil, "x")
		require.ErrorContains(t, err, "nil pool")
		require.Zero(t, pool.Stats().Owned)

		raw, err := storage.NewPresence[string](pool, "x", storage.PresenceOptions{Codec: storage.Raw})
		require.NoError(t, err)
		_, err = raw.Add(ctx, "no bytes")
		require.ErrorContains(t, err, "encode string as raw")
		_, err = raw.Remove(ctx, "no bytes")
		require.ErrorContains(t, err, "encode string as raw")
		_, err = raw.Contains(ctx, "no bytes")
		require.ErrorContains(t, err, "encode string as raw")

		p := newPresence(t, pool, "a")
		gone, cancel := context.WithCancel(ctx)
		cancel()
		_, err = p.Add(gone, "ann")
		require.ErrorIs(t, err, context.Canceled)
		_, err = p.Remove(gone, "ann")
		require.ErrorIs(t, err, context.Canceled)
		_, err = p.Contains(gone, "ann")
		require.ErrorIs(t, err, context.Canceled)
		_, err = p.Owners(gone)
		require.ErrorIs(t, err, context.Canceled)
		for _, err := range p.All(gone) {
			require.ErrorIs(t, err, context.Canceled)
		}

		var wrong *storage.WrongTypeError
		require.NoError(t, pool.Redis().Set(ctx, "{online}:owners", "x", 0).Err())
		_, err = p.Add(ctx, "ann")
		require.ErrorAs(t, err, &wrong)
		require.Equal(t, "{online}:owners", wrong.Key)
		_, err = p.Contains(ctx, "ann")
		require.ErrorAs(t, err, &wrong)
		require.NoError(t, pool.Redis().Del(ctx, "{online}:owners").Err())
		require.NoError(t, pool.Redis().Set(ctx, "{online}:of:a", "x", 0).Err())
		_, err = p.Add(ctx, "ann")
		require.ErrorAs(t, err, &wrong)
		require.Equal(t, "{online}:of:a", wrong.Key)
		require.Equal(t, "x", pool.Redis().Get(ctx, "{online}:of:a").Val(), "as it was")
		require.ErrorAs(t, p.Close(), &wrong)
		require.NoError(t, pool.Redis().ZAdd(ctx, "{online}:owners", redis.Z{Score: 1, Member: "a"}).Err())
		_, err = p.Contains(ctx, "ann")
		require.ErrorAs(t, err, &wrong)
		require.Equal(t, "{online}:of:a", wrong.Key)

		require.NoError(t, pool.Redis().Del(ctx, "{online}:of:a").Err())
		require.NoError(t, pool.Redis().SAdd(ctx, "{online}:of:a", "x").Err())
		numbers, err := storage.NewPresence[int](pool, "online", storage.PresenceOptions{Codec: storage.JSON})
		require.NoError(t, err)
		for _, err := range numbers.All(ctx) {
			require.ErrorContains(t, err, `set "{online}:of:a": storage: decode json`)
		}
	})
}
