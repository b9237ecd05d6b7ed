package storagetest_test

import (
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// network runs a test on a network, with a pool that tries nothing again.
func network(t *testing.T, test func(t *testing.T, n *storagetest.Network, rdb redis.UniversalClient)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := storagetest.NewNetwork(t)
		test(t, n, once(t, n.Config()))
	})
}

func once(t *testing.T, cfg storage.Config) redis.UniversalClient {
	cfg.Redis.MaxRetries = -1
	return storagetest.Open(t, cfg).Redis()
}

func TestDelayHoldsReplies(t *testing.T) {
	network(t, func(t *testing.T, n *storagetest.Network, rdb redis.UniversalClient) {
		require.NoError(t, rdb.Ping(t.Context()).Err())
		for _, d := range []time.Duration{time.Second, 0} {
			n.Delay(d)
			begun := time.Now()
			require.NoError(t, rdb.Ping(t.Context()).Err())
			require.GreaterOrEqual(t, time.Since(begun), d)
			require.Less(t, time.Since(begun), d+time.Second)
		}
	})
}

func TestHalfOpenConnectionsAreSilent(t *testing.T) {
	network(t, func(t *testing.T, n *storagetest.Network, rdb redis.UniversalClient) {
		ctx := t.Context()
		require.NoError(t, rdb.Set(ctx, "k", "v", 0).Err())
		end := n.HalfOpen()
		err := rdb.Set(ctx, "k", "lost", 0).Err()
		require.ErrorContains(t, err, "i/o timeout")
		require.Equal(t, "v", rdb.Get(ctx, "k").Val(), "by a new connection")

		blocked := make(chan error, 1)
		go func() { blocked <- rdb.BLPop(ctx, time.Minute, "list").Err() }()
		time.Sleep(time.Millisecond) // the request arrives
		endToo := n.HalfOpen()
		require.NoError(t, rdb.RPush(ctx, "list", "element").Err())
		require.Zero(t, rdb.Exists(ctx, "list").Val(), "the server has sent it")
		end()
		endToo()
		require.ErrorIs(t, <-blocked, syscall.ECONNRESET)
		endToo()
	})
}

func TestADroppedReplyWasCarriedOut(t *testing.T) {
	network(t, func(t *testing.T, n *storagetest.Network, rdb redis.UniversalClient) {
		ctx := t.Context()
		require.NoError(t, rdb.Ping(ctx).Err())
		n.DropReply()
		require.ErrorIs(t, rdb.Incr(ctx, "k").Err(), syscall.ECONNRESET)
		require.Equal(t, "1", rdb.Get(ctx, "k").Val())
	})
}

func TestALinkIsCutOffByItself(t *testing.T) {
	network(t, func(t *testing.T, n *storagetest.Network, rdb redis.UniversalClient) {
		ctx, link := t.Context(), n.Link()
		other := once(t, link.Config())
		require.NoError(t, rdb.Ping(ctx).Err())
		require.NoError(t, other.Ping(ctx).Err())
		require.Equal(t, 1, link.Cut())
		require.ErrorIs(t, other.Ping(ctx).Err(), syscall.ECONNRESET)
		link.Down()
		require.ErrorIs(t, other.Ping(ctx).Err(), syscall.ECONNREFUSED)
		require.NoError(t, rdb.Ping(ctx).Err())
		link.Up()
		require.NoError(t, other.Ping(ctx).Err())
	})
}

func TestAServerThatRefuses(t *testing.T) {
	network(t, func(t *testing.T, n *storagetest.Network, rdb redis.UniversalClient) {
		ctx := t.Context()
		require.NoError(t, rdb.Set(ctx, "k", "v", 0).Err())
		script := redis.NewScript("return redis.call('set', KEYS[1], 'script')")
		write := func() error { return rdb.Set(ctx, "k", "w", 0).Err() }
		for _, c := range []struct {
			refusal              storagetest.Refusal
			expected             func(error) bool
			refuseDel, refuseGet bool
		}{
			{storagetest.RefuseOOM, redis.IsOOMError, false, false},
			{storagetest.RefuseReadOnly, redis.IsReadOnlyError, true, false},
			{storagetest.RefuseLoading, redis.IsLoadingError, true, true},
		} {
			n.Refuse(c.refusal)
			require.True(t, c.expected(write()))
			require.True(t, c.expected(script.Eval(ctx, rdb, []string{"k"}).Err()))
			require.Equal(t, c.refuseDel, c.expected(rdb.Del(ctx, "other").Err()))
			require.Equal(t, c.refuseGet, c.expected(rdb.Get(ctx, "k").Err()))
			_, err := rdb.TxPipelined(ctx, func(p redis.Pipeliner) error {
				p.Set(ctx, "k", "transaction", 0)
				p.Del(ctx, "k")
				return nil
			})
			require.Error(t, err)
			n.Refuse("")
			require.Equal(t, "v", rdb.Get(ctx, "k").Val())
		}
		require.NoError(t, write())
		require.Equal(t, "w", rdb.Get(ctx, "k").Val())
	})
}

func TestATransactionThatWasQueuedBeforeARefusal(t *testing.T) {
	network(t, func(t *testing.T, n *storagetest.Network, rdb redis.UniversalClient) {
		ctx := t.Context()
		conn := rdb.(*redis.Client).Conn()
		defer func() { require.NoError(t, conn.Close()) }()
		do := func(args ...any) error { return conn.Do(ctx, args...).Err() }
		require.NoError(t, do("multi"))
		require.NoError(t, do("set", "k", "v"))
		n.Refuse(storagetest.RefuseOOM)
		require.ErrorContains(t, do("exec"), "EXECABORT Transaction discarded because of: OOM ")
		require.NoError(t, do("multi"))
		require.NoError(t, do("get", "k"))
		require.NoError(t, do("exec"))
		require.NoError(t, do("multi"))
		require.NoError(t, do("discard"))
		n.Refuse("")
		require.Zero(t, rdb.Exists(ctx, "k").Val())
	})
}

func TestARestartEmptiesTheServer(t *testing.T) {
	network(t, func(t *testing.T, n *storagetest.Network, rdb redis.UniversalClient) {
		ctx := t.Context()
		script := redis.NewScript("return redis.call('incr', KEYS[1])")
		require.NoError(t, script.Run(ctx, rdb, []string{"k"}).Err())
		n.Restart()
		require.ErrorIs(t, rdb.Get(ctx, "k").Err(), syscall.ECONNRESET)
		require.True(t, redis.HasErrorPrefix(script.EvalSha(ctx, rdb, []string{"k"}).Err(), "NOSCRIPT"))
		require.Zero(t, rdb.DBSize(ctx).Val())
	})
}

func TestASnapshotHasAllTypes(t *testing.T) {
	network(t, func(t *testing.T, n *storagetest.Network, rdb redis.UniversalClient) {
		ctx := t.Context()
		require.NoError(t, rdb.Set(ctx, "string", "v", 0).Err())
		require.NoError(t, rdb.Set(ctx, "short", "v", time.Minute).Err())
		require.NoError(t, rdb.HSet(ctx, "hash", "f", "v").Err())
		require.NoError(t, rdb.RPush(ctx, "list", "a", "b").Err())
		require.NoError(t, rdb.ZAdd(ctx, "zset", redis.Z{Score: 1, Member: "m"}).Err())
		require.NoError(t, rdb.XAdd(ctx, &redis.XAddArgs{Stream: "stream", Values: []string{"f", "v"}}).Err())
		require.NoError(t, rdb.XGroupCreate(ctx, "stream", "g", "0").Err())
		require.NoError(t, rdb.XReadGroup(ctx, &redis.XReadGroupArgs{Group: "g", Consumer: "c", Streams: []string{"stream", ">"}}).Err())
		first := n.Snapshot()
		require.NoError(t, rdb.FlushDB(ctx).Err())
		require.NoError(t, rdb.Set(ctx, "later", "v", 0).Err())
		second := n.Snapshot()
		time.Sleep(30 * time.Second)
		for range 2 {
			first()
			require.ErrorIs(t, rdb.Ping(ctx).Err(), syscall.ECONNRESET)
			keys, err := rdb.Keys(ctx, "*").Result()
			require.NoError(t, err)
			require.ElementsMatch(t, []string{"string", "short", "hash", "list", "zset", "stream"}, keys)
			require.LessOrEqual(t, rdb.TTL(ctx, "short").Val(), 30*time.Second)
			require.EqualValues(t, 1, rdb.XPending(ctx, "stream", "g").Val().Count)
			require.NoError(t, rdb.LPop(ctx, "list").Err())
			require.NoError(t, rdb.XAck(ctx, "stream", "g", "0-1").Err())
		}
		second()
		require.Error(t, rdb.Ping(ctx).Err())
		require.Equal(t, []string{"later"}, rdb.Keys(ctx, "*").Val())
		time.Sleep(time.Minute)
		first()
		require.Error(t, rdb.Ping(ctx).Err())
		require.Zero(t, rdb.Exists(ctx, "short").Val(), "it has expired since")
	})
}

func TestAFailoverLosesWhatTheReplicaLacks(t *testing.T) {
	network(t, func(t *testing.T, n *storagetest.Network, rdb redis.UniversalClient) {
		ctx := t.Context()
		require.NoError(t, rdb.Set(ctx, "k", "old", 0).Err())
		time.AfterFunc(time.Second, func() { rdb.Set(ctx, "k", "lost", 0) })
		begun := time.Now()
		n.Failover(2*time.Second, 3*time.Second)
		require.WithinDuration(t, begun.Add(5*time.Second), time.Now(), time.Millisecond)
		require.ErrorIs(t, rdb.Ping(ctx).Err(), syscall.ECONNRESET)
		require.Equal(t, "old", rdb.Get(ctx, "k").Val())
	})
}
