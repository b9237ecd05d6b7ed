package storage_test

import (
	"context"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// objects are one of each kind, under the test's name, with a TTL.
type objects struct {
	pool  *storage.Pool
	set   *storage.Set[string]
	hash  *storage.Map[string]
	value *storage.Value[string]
	log   *storage.Log
}

func newObjects(t *testing.T, pool *storage.Pool, ttl time.Duration) objects {
	t.Helper()
	o := objects{pool: pool}
	var err error
	opts := storage.ObjectOptions{Codec: storage.Text, TTL: ttl}
	o.set, err = storage.NewSet[string](pool, t.Name()+"-set", opts)
	require.NoError(t, err)
	o.hash, err = storage.NewMap[string](pool, t.Name()+"-map", opts)
	require.NoError(t, err)
	o.value, err = storage.NewValue[string](pool, t.Name()+"-value", opts)
	require.NoError(t, err)
	o.log, err = storage.NewLog(pool, t.Name()+"-log", storage.LogOptions{TTL: ttl})
	require.NoError(t, err)
	return o
}

func (o objects) keys() []string {
	return []string{o.set.Key(), o.hash.Key(), o.value.Key(), o.log.Key()}
}

type step struct {
	name string
	do   func(ctx context.Context) error
}

// writes add or set something; b is there before and after.
func (o objects) writes() []step {
	return []step{
		{"Set.Add", func(ctx context.Context) error { _, err := o.set.Add(ctx, "b"); return err }},
		{"Map.Put", func(ctx context.Context) error { return o.hash.Put(ctx, "b", "b") }},
		{"Map.PutIfAbsent", func(ctx context.Context) error { _, err := o.hash.PutIfAbsent(ctx, "new", "n"); return err }},
		{"Map.CompareAndSwap", func(ctx context.Context) error { _, err := o.hash.CompareAndSwap(ctx, "b", "b", "b"); return err }},
		{"Value.Set", func(ctx context.Context) error { return o.value.Set(ctx, "b") }},
		{"Value.Update", func(ctx context.Context) error {
			_, err := o.value.Update(ctx, func(old string, _ bool) (string, error) { return old, nil })
			return err
		}},
		{"Log.Append", func(ctx context.Context) error { return o.log.Append(ctx, []byte("b")) }},
	}
}

// others read or remove, and leave b.
func (o objects) others() []step {
	return []step{
		{"Set.Remove", func(ctx context.Context) error { _, err := o.set.Remove(ctx, "x"); return err }},
		{"Set.Contains", func(ctx context.Context) error { _, err := o.set.Contains(ctx, "x"); return err }},
		{"Set.Len", func(ctx context.Context) error { _, err := o.set.Len(ctx); return err }},
		{"Set.Get", func(ctx context.Context) error { _, err := o.set.Get(ctx); return err }},
		{"Set.All", func(ctx context.Context) (err error) {
			for _, err = range o.set.All(ctx) {
			}
			return err
		}},
		{"Map.Get", func(ctx context.Context) error { _, _, err := o.hash.Get(ctx, "b"); return err }},
		{"Map.Delete", func(ctx context.Context) error { _, err := o.hash.Delete(ctx, "x"); return err }},
		{"Map.CompareAndSwap of another", func(ctx context.Context) error { _, err := o.hash.CompareAndSwap(ctx, "b", "x", "y"); return err }},
		{"Map.PutIfAbsent of what is there", func(ctx context.Context) error { _, err := o.hash.PutIfAbsent(ctx, "b", "y"); return err }},
		{"Map.Len", func(ctx context.Context) error { _, err := o.hash.Len(ctx); return err }},
		{"Map.All", func(ctx context.Context) (err error) {
			for _, err = range o.hash.All(ctx) {
			}
			return err
		}},
		{"Value.Get", func(ctx context.Context) error { _, _, err := o.value.Get(ctx); return err }},
		{"Log.Last", func(ctx context.Context) error { _, err := o.log.Last(ctx, 1); return err }},
		{"Log.Len", func(ctx context.Context) error { _, err := o.log.Len(ctx); return err }},
	}
}

func (o objects) clears() []step {
	return []step{
		{"Set.Clear", func(ctx context.Context) error { _, err := o.set.Clear(ctx); return err }},
		{"Map.Clear", func(ctx context.Context) error { _, err := o.hash.Clear(ctx); return err }},
		{"Value.Clear", func(ctx context.Context) error { _, err := o.value.Clear(ctx); return err }},
		{"Log.Clear", func(ctx context.Context) error { _, err := o.log.Clear(ctx); return err }},
	}
}

func (o objects) every() []step {
	return append(append(o.writes(), o.others()...), o.clears()...)
}

func TestObjectsTTLBeginsAnewWithAWriteOnly(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		o, ctx := newObjects(t, pool, time.Hour), t.Context()
		for _, s := range o.writes() {
			require.NoError(t, s.do(ctx), s.name)
		}
		shorten := func() {
			for _, key := range o.keys() {
				require.True(t, pool.Redis().PExpire(ctx, key, time.Minute).Val(), key)
			}
		}
		longest := func() (ttl time.Duration) {
			for _, key := range o.keys() {
				ttl = max(ttl, pool.Redis().PTTL(ctx, key).Val())
			}
			return ttl
		}
		shorten()
		for _, s := range o.others() {
			require.NoError(t, s.do(ctx), s.name)
			require.LessOrEqual(t, longest(), time.Minute, s.name)
		}
		for _, s := range o.writes() {
			if s.name == "Map.PutIfAbsent" {
				_, err := o.hash.Delete(ctx, "new")
				require.NoError(t, err)
			}
			shorten()
			require.NoError(t, s.do(ctx), s.name)
			require.Greater(t, longest(), time.Minute, s.name)
		}
	})
}

func TestObjectsWithoutTTLStay(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		o := newObjects(t, pool, 0)
		for _, s := range o.writes() {
			require.NoError(t, s.do(t.Context()), s.name)
		}
		for _, key := range o.keys() {
			require.EqualValues(t, -1, pool.Redis().PTTL(t.Context(), key).Val(), key)
		}
	})
}

func TestObjectsRefuseAKeyOfAnotherType(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		o, ctx := newObjects(t, pool, time.Hour), t.Context()
		for _, key := range o.keys() {
			require.NoError(t, pool.Redis().ZAdd(ctx, key, redis.Z{Member: "m"}).Err())
		}
		for _, s := range o.every() {
			err := s.do(ctx)
			var wrong *storage.WrongTypeError
			require.ErrorAs(t, err, &wrong, s.name)
			require.Contains(t, o.keys(), wrong.Key)
			require.ErrorContains(t, err, wrong.Key)
		}
		for _, key := range o.keys() {
			require.Equal(t, "zset", pool.Redis().Type(ctx, key).Val(), "as it was")
			require.EqualValues(t, -1, pool.Redis().PTTL(ctx, key).Val(), "as it was")
		}
	})
}

func TestObjectsHeedTheContextAndTheEndOfThePool(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		o := newObjects(t, pool, time.Hour)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for _, s := range o.every() {
			require.ErrorIs(t, s.do(ctx), context.Canceled, s.name)
		}
		require.NoError(t, pool.Close())
		for _, s := range o.every() {
			require.ErrorIs(t, s.do(t.Context()), storage.ErrClosed, s.name)
		}
	})
}

func TestObjectsEndWithTheDeadline(t *testing.T) {
	t.Parallel()
	srv := storagetest.Start(t)
	o := newObjects(t, storagetest.Open(t, srv.Config()), time.Hour)
	srv.Pause()
	defer srv.Resume()
	for _, s := range o.every() {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
		require.ErrorIs(t, s.do(ctx), context.DeadlineExceeded, s.name)
		cancel()
	}
}

// A restart is no error for who asks after it, and what was written is gone.
func TestObjectsGoOnAfterARestart(t *testing.T) {
	t.Parallel()
	srv := storagetest.Start(t)
	o := newObjects(t, storagetest.Open(t, srv.Config()), time.Hour)
	for range 3 {
		for _, s := range o.every() { // scripts too, which the new server does not know
			require.NoError(t, s.do(t.Context()), s.name)
		}
		srv.Restart()
	}
}

// A server that comes back within three seconds was only slow.
func TestObjectsWaitForAServerThatIsAway(t *testing.T) {
	t.Parallel()
	srv := storagetest.Start(t)
	o := newObjects(t, storagetest.Open(t, srv.Config()), time.Hour)
	srv.Kill()
	added := make(chan error, 1)
	go func() {
		_, err := o.set.Add(t.Context(), "a")
		added <- err
	}()
	srv.Restart()
	require.NoError(t, <-added)

	srv.Kill()
	_, err := o.set.Add(t.Context(), "a")
	require.ErrorContains(t, err, "connection refused")
	require.NotErrorIs(t, err, storage.ErrIndeterminate, "it was surely not added")
}

// The host's client may not heed deadlines, and repeats what it should not: the
// objects ride one of ours.
func TestObjectsOnAHostsClient(t *testing.T) {
	t.Parallel()
	srv := storagetest.Start(t)
	host := redis.NewClient(&redis.Options{Addr: srv.Addr(), ReadTimeout: -1})
	defer host.Close()
	pool, err := storage.New(host, storage.Config{Prefix: "p"})
	require.NoError(t, err)
	defer pool.Close()
	o := newObjects(t, pool, time.Hour)
	for _, s := range o.every() {
		require.NoError(t, s.do(t.Context()), s.name)
	}
	require.Zero(t, host.PoolStats().TotalConns)
	srv.Pause()
	defer srv.Resume()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	_, err = o.set.Add(ctx, "a")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorIs(t, err, storage.ErrIndeterminate)
}

func TestObjectsInACluster(t *testing.T) {
	t.Parallel()
	pool := storagetest.Open(t, storagetest.StartCluster(t).Config())
	for _, name := range []string{"a", "b", "c", "d", "e", "f"} { // on every server
		t.Run(name, func(t *testing.T) {
			o := newObjects(t, pool, time.Hour)
			for range 2 {
				for _, s := range o.every() {
					require.NoError(t, s.do(t.Context()), s.name)
				}
			}
		})
	}
	t.Run("Object", func(t *testing.T) { storagetest.Object(t, openObject(pool)) })
}

func TestObjectsBadInput(t *testing.T) {
	t.Parallel()
	pool := storagetest.New(t)
	for want, opts := range map[string]storage.ObjectOptions{
		"ObjectOptions.Codec: no codec(9)": {Codec: 9},
		"ObjectOptions.TTL: -1s":           {TTL: -time.Second},
	} {
		_, err := storage.NewSet[int](pool, "x", opts)
		require.ErrorContains(t, err, want)
		_, err = storage.NewMap[int](pool, "x", opts)
		require.ErrorContains(t, err, want)
		_, err = storage.NewValue[int](pool, "x", opts)
		require.ErrorContains(t, err, want)
		_, err = storage.NewObject(pool, "x", opts)
		require.ErrorContains(t, err, want)
	}
	_, err := storage.NewSet[int](pool, "")
	require.ErrorContains(t, err, "empty name")
	_, err = storage.NewMap[int](nil, "x")
	require.ErrorContains(t, err, "nil pool")
	_, err = storage.NewValue[int](pool, "x", storage.ObjectOptions{}, storage.ObjectOptions{})
	require.ErrorContains(t, err, "at most one")
}

// What can't be encoded changes nothing; what can't be decoded names its key.
func TestObjectsBadContent(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		ctx := t.Context()
		raw := storage.ObjectOptions{Codec: storage.Raw} // of which a string is none
		set, _ := storage.NewSet[string](pool, "set", raw)
		hash, _ := storage.NewMap[string](pool, "map", raw)
		value, _ := storage.NewValue[string](pool, "value", raw)
		_, err := set.Add(ctx, "a")
		require.ErrorContains(t, err, `set "set": storage: encode string as raw`)
		_, err = set.Remove(ctx, "a")
		require.ErrorContains(t, err, "encode string as raw")
		_, err = set.Contains(ctx, "a")
		require.ErrorContains(t, err, "encode string as raw")
		require.ErrorContains(t, hash.Put(ctx, "f", "a"), `hash "map": storage: encode`)
		require.ErrorContains(t, value.Set(ctx, "a"), `string "value": storage: encode`)
		_, err = value.Update(ctx, func(string, bool) (string, error) { return "a", nil })
		require.ErrorContains(t, err, `string "value": storage: encode`)
		require.Empty(t, pool.Redis().Keys(ctx, "*").Val())

		require.NoError(t, pool.Redis().SAdd(ctx, "set", "\xc1").Err())
		require.NoError(t, pool.Redis().HSet(ctx, "map", "f", "\xc1").Err())
		require.NoError(t, pool.Redis().Set(ctx, "value", "\xc1", 0).Err())
		numbers, _ := storage.NewSet[int](pool, "set")
		_, err = numbers.Get(ctx)
		require.ErrorContains(t, err, `set "set": storage: decode msgpack into *int`)
		seen := 0
		for _, err := range numbers.All(ctx) {
			require.ErrorContains(t, err, `set "set": storage: decode`)
			seen++
		}
		require.Equal(t, 1, seen, "an error is the last item")
		byName, _ := storage.NewMap[int](pool, "map")
		_, ok, err := byName.Get(ctx, "f")
		require.ErrorContains(t, err, `hash "map": storage: decode`)
		require.False(t, ok)
		for _, err := range byName.All(ctx) {
			require.ErrorContains(t, err, `hash "map": storage: decode`)
		}
		number, _ := storage.NewValue[int](pool, "value")
		_, _, err = number.Get(ctx)
		require.ErrorContains(t, err, `string "value": storage: decode`)
		_, err = number.Update(ctx, func(int, bool) (int, error) { panic("not asked") })
		require.ErrorContains(t, err, `string "value": storage: decode`)
	})
}

// deaf connects a pool to its server; once it is set, the next answer is not
// heard, and its connection ends.
type deaf struct{ atomic.Bool }

func (d *deaf) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, network, addr)
	return &deafConn{conn, d}, err
}

type deafConn struct {
	net.Conn
	deaf *deaf
}

func (c *deafConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.deaf.CompareAndSwap(true, false) {
		_ = c.Close()
		return 0, io.EOF
	}
	return n, err
}

// A change whose answer is lost was made, and is not made again: the second
// answer would not be that of the first.
func TestObjectsWriteOnce(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		var wire deaf
		cfg := pool.Config()
		cfg.Redis.Dialer = wire.dial
		o, ctx := newObjects(t, storagetest.Open(t, cfg), time.Hour), t.Context()
		all := append(o.writes(), step{"Set.Remove", func(ctx context.Context) error { _, err := o.set.Remove(ctx, "b"); return err }})
		for _, s := range append(all, o.clears()...) { // so that Redis knows the scripts
			require.NoError(t, s.do(ctx), s.name)
		}
		require.NoError(t, o.value.Set(ctx, "b"))
		for _, s := range all {
			if s.name == "Value.Update" { // it reads first, and a read is repeated
				continue
			}
			_, err := o.log.Len(ctx) // there is a connection
			require.NoError(t, err)
			wire.Store(true)
			require.ErrorIs(t, s.do(ctx), storage.ErrIndeterminate, s.name)
		}
		_, err := o.value.Update(ctx, func(old string, _ bool) (string, error) {
			wire.Store(true)
			return old + "!", nil
		})
		require.ErrorIs(t, err, storage.ErrIndeterminate)
		v, _, err := o.value.Get(ctx)
		require.NoError(t, err)
		require.Equal(t, "b!", v)
		n, err := o.log.Len(ctx)
		require.NoError(t, err)
		require.Equal(t, 1, n)
		n, err = o.set.Len(ctx)
		require.NoError(t, err)
		require.Zero(t, n)
		n, err = o.hash.Len(ctx)
		require.NoError(t, err)
		require.Equal(t, 2, n)
	})
}
