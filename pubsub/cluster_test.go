package pubsub_test

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/pubsub"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

func TestCluster(t *testing.T) {
	t.Parallel()
	cluster := storagetest.StartCluster(t)
	pool := storagetest.Open(t, cluster.Config())

	t.Run("plain topics", func(t *testing.T) {
		c, publisher := client(t, pool, pubsub.Config{}), client(t, storagetest.Open(t, cluster.Config()), pubsub.Config{})
		var subs []*pubsub.Subscription[int]
		all := subscribe(t, c, pubsub.NewPattern[int]("plain:*"))
		for i := range 30 { // of all slots
			subs = append(subs, subscribe(t, c, pubsub.NewTopic[int](fmt.Sprint("plain:", i))))
		}
		for i, sub := range subs {
			topic := pubsub.NewTopic[int](fmt.Sprint("plain:", i))
			for j := range 200 {
				pubsub.PublishAsync(t.Context(), publisher, topic, j)
			}
			require.Equal(t, count(0, 200), values(t, sub, 200), "in order, by whichever server")
			values(t, all, 200)
		}
		require.Equal(t, 1, c.Stats().Connections)
		publish(t, publisher, Kept, 1)
		kept := subscribe(t, c, Kept, pubsub.SubscribeOptions{Replay: true})
		publish(t, publisher, Kept, 2)
		require.Equal(t, []int{1, 2}, values(t, kept, 2))
	})

	t.Run("sharded topics", func(t *testing.T) {
		c := client(t, pool, pubsub.Config{})
		var subs []*pubsub.Subscription[int]
		sharded := func(i int) pubsub.Topic[int] { return pubsub.NewTopic[int](fmt.Sprint("sharded:", i)).Sharded() }
		for i := range 30 {
			subs = append(subs, subscribe(t, c, sharded(i)))
		}
		for i, sub := range subs {
			n, err := pubsub.Publish(t.Context(), c, sharded(i), i)
			require.NoError(t, err)
			require.Equal(t, 1, n)
			require.Equal(t, []int{i}, values(t, sub, 1))
		}
		require.Equal(t, 3, c.Stats().Connections, "one to each primary")
		kept := sharded(99).WithHistory(pubsub.History{})
		first := subscribe(t, c, kept)
		publish(t, c, kept, 1, 2)
		second := subscribe(t, c, kept, pubsub.SubscribeOptions{Replay: true})
		require.Equal(t, []int{1, 2}, values(t, first, 2))
		require.Equal(t, []int{1, 2}, values(t, second, 2))
		publish(t, c, kept, 3)
		require.Equal(t, pubsub.Message[int]{Channel: "sharded:99", Value: 3, Offset: next(t, first).Offset}, said(t, second))
		for _, sub := range append(subs, first, second) {
			require.NoError(t, sub.Close())
		}
		eventually(t, func() bool { return c.Stats().Connections == 0 })
	})

	t.Run("every gap is signalled", func(t *testing.T) {
		var topics []pubsub.Topic[int]
		for i := range 6 {
			topics = append(topics, pubsub.NewTopic[int](fmt.Sprint("soak:", i)).Sharded())
		}
		cutOne := func() {
			node := redis.NewClient(&redis.Options{Addr: cluster.Nodes[time.Now().UnixNano()%3].Addr()})
			defer node.Close()
			_ = node.ClientKillByFilter(t.Context(), "type", "pubsub").Err()
		}
		quiet := pubsub.SubscribeOptions{MaxMessages: 1 << 20, MaxBytes: 1 << 30}
		publisher, subscriber := client(t, pool, pubsub.Config{}), client(t, storagetest.Open(t, cluster.Config()), pubsub.Config{})
		gaps, _ := soak(t, publisher, subscriber, cutOne, topics, quiet)
		require.Positive(t, gaps)
	})

	t.Run("events of keys", func(t *testing.T) {
		for _, n := range cluster.Nodes {
			node := redis.NewClient(&redis.Options{Addr: n.Addr()})
			require.NoError(t, node.ConfigSet(t.Context(), "notify-keyspace-events", "KA").Err())
			require.NoError(t, node.Close())
		}
		c := client(t, pool, pubsub.Config{})
		all := subscribe(t, c, pubsub.NewKeyEvents("events:*"))
		one := subscribe(t, c, pubsub.NewKeyEvents("events:7"))
		tagged := subscribe(t, c, pubsub.NewKeyEvents("{tag}:x"))
		seen := map[string]bool{}
		for i := range 30 {
			require.NoError(t, pool.Redis().Set(t.Context(), fmt.Sprint("events:", i), 1, 0).Err())
			m := next(t, all)
			require.NoError(t, m.Err)
			require.Equal(t, "set", m.Value)
			seen[m.Channel] = true
		}
		require.Len(t, seen, 30)
		require.Equal(t, pubsub.Message[string]{Channel: "events:7", Value: "set"}, said(t, one))
		require.NoError(t, pool.Redis().HSet(t.Context(), "{tag}:x", "a", 1).Err())
		require.Equal(t, pubsub.Message[string]{Channel: "{tag}:x", Value: "hset"}, said(t, tagged))
	})

	// The slots of the sharded channels go from one server to the next and on,
	// one by one, while messages are published.
	t.Run("slots move", func(t *testing.T) {
		c := client(t, storagetest.Open(t, cluster.Config()), pubsub.Config{})
		topic := pubsub.NewTopic[int]("moving").Sharded()
		w := &witness{sub: subscribe(t, c, topic)}
		var watching sync.WaitGroup
		watching.Go(w.watch)
		published := 0
		send := func(n int) {
			for range n {
				receivers, err := pubsub.Publish(t.Context(), c, topic, published)
				require.NoError(t, err)
				_ = receivers
				published++
			}
		}
		for round := range 4 {
			send(50)
			move(t, cluster, pool, "moving", round%3)
			eventually(t, func() bool {
				n, err := pubsub.Publish(t.Context(), c, topic, published)
				published++
				return err == nil && n == 1
			}, "it follows")
			send(50)
		}
		publish(t, c, topic, -published)
		watching.Wait()
		require.Empty(t, w.wrong)
		require.Empty(t, w.silent)
		require.Positive(t, w.gaps)
		t.Logf("%d published, %d missed, %d gaps told", published, w.missed, w.gaps)
	})
}

// move gives the slot of a key to another server.
func move(t *testing.T, cluster *storagetest.Cluster, pool *storage.Pool, key string, to int) {
	t.Helper()
	ctx := t.Context()
	slot, err := pool.Redis().ClusterKeySlot(ctx, key).Result()
	require.NoError(t, err)
	target := redis.NewClient(&redis.Options{Addr: cluster.Nodes[to].Addr()})
	defer target.Close()
	id, err := target.Do(ctx, "cluster", "myid").Text()
	require.NoError(t, err)
	// The target first, so that it knows that it is the owner. The new epoch makes its
	// claim win over the gossip of the old owner.
	require.NoError(t, target.Do(ctx, "cluster", "setslot", strconv.FormatInt(slot, 10), "node", id).Err())
	require.NoError(t, target.Do(ctx, "cluster", "bumpepoch").Err())
	for i, n := range cluster.Nodes {
		if i != to {
			node := redis.NewClient(&redis.Options{Addr: n.Addr()})
			require.NoError(t, node.Do(ctx, "cluster", "setslot", strconv.FormatInt(slot, 10), "node", id).Err())
			require.NoError(t, node.Close())
		}
	}
}

func TestShardedTopicsOnOneServer(t *testing.T) {
	t.Parallel()
	pool := storagetest.Open(t, storagetest.Start(t).Config())
	c := client(t, pool, pubsub.Config{})
	sharded := subscribe(t, c, Numbers.Sharded())
	plain := subscribe(t, c, Numbers)
	publish(t, c, Numbers.Sharded(), 1)
	publish(t, c, Numbers, 2)
	require.Equal(t, 1, next(t, sharded).Value)
	require.Equal(t, 2, next(t, plain).Value)
	require.Equal(t, 1, c.Stats().Connections)
	cut(t, pool)
	require.ErrorIs(t, next(t, sharded).Err, pubsub.ErrGap)

	embedded := client(t, storagetest.New(t), pubsub.Config{})
	_, err := pubsub.Subscribe(t.Context(), embedded, Numbers.Sharded())
	require.ErrorContains(t, err, "unknown command")
	_, err = pubsub.Publish(t.Context(), embedded, Numbers.Sharded(), 1)
	require.ErrorContains(t, err, "unknown command")
	sub := subscribe(t, embedded, Numbers)
	publish(t, embedded, Numbers, 3)
	require.Equal(t, 3, next(t, sub).Value, "others are not harmed")
}

func TestKeyEvents(t *testing.T) {
	t.Parallel()
	srv := storagetest.Start(t, "--notify-keyspace-events", "KA")
	cfg := srv.Config()
	cfg.Prefix, cfg.Redis.DB = "obs", 3
	pool := storagetest.Open(t, cfg)
	c := client(t, pool, pubsub.Config{})
	all, one := subscribe(t, c, pubsub.NewKeyEvents("kw:*")), subscribe(t, c, pubsub.NewKeyEvents("kw:x"))
	ctx := t.Context()
	require.NoError(t, pool.Redis().Set(ctx, "obs:kw:x", 1, time.Hour).Err())
	for _, sub := range []*pubsub.Subscription[string]{all, one} {
		require.Equal(t, pubsub.Message[string]{Channel: "kw:x", Value: "set"}, said(t, sub))
		require.Equal(t, "expire", next(t, sub).Value)
	}
	other := cfg
	other.Redis.DB = 0
	require.NoError(t, storagetest.Open(t, other).Redis().Set(ctx, "obs:kw:y", 1, 0).Err(), "in another database")
	require.NoError(t, pool.Redis().Del(ctx, "obs:kw:x").Err())
	require.Equal(t, "del", next(t, one).Value)
	require.Equal(t, "del", next(t, all).Value)
	for _, bad := range []string{"", "a b"} {
		require.Panics(t, func() { pubsub.NewKeyEvents(bad) })
	}
}

// An ACL says what may be subscribed: the rest is refused at once, and does not
// take others with it.
func TestACL(t *testing.T) {
	t.Parallel()
	srv := storagetest.Start(t, "--user", "alice", "on", ">s3cr3t", "~*", "resetchannels", "&ok:*", "+@all")
	cfg := srv.Config()
	cfg.Redis.Username, cfg.Redis.Password = "alice", "s3cr3t"
	pool := storagetest.Open(t, cfg)
	c := client(t, pool, pubsub.Config{Probe: 500 * time.Millisecond})
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			_, err := pubsub.Subscribe(t.Context(), c, pubsub.NewTopic[int](fmt.Sprint("no:", i)))
			var reply redis.Error
			if !errors.As(err, &reply) || !strings.HasPrefix(reply.Error(), "NOPERM") {
				t.Error(err)
			}
		})
		wg.Go(func() {
			if _, err := pubsub.Subscribe(t.Context(), c, pubsub.NewTopic[int](fmt.Sprint("ok:", i))); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	_, err := pubsub.Publish(t.Context(), c, Numbers, 1)
	require.ErrorContains(t, err, "NOPERM")
	sub := subscribe(t, c, pubsub.NewTopic[int]("ok:1"))
	eventually(t, func() bool { return c.Stats().Probes > 3 }, "by PING")
	require.EqualValues(t, 1, c.Stats().Connects)

	// What was allowed is taken back.
	admin := storagetest.Open(t, srv.Config())
	require.NoError(t, admin.Redis().Do(t.Context(), "acl", "setuser", "alice", "resetchannels", "&none").Err())
	ends(t, sub)
	require.ErrorContains(t, sub.Err(), "NOPERM")

	cfg.Redis.Password = "wr0ng"
	_, err = pubsub.Subscribe(t.Context(), client(t, storagetest.Open(t, cfg), pubsub.Config{}), Numbers)
	require.ErrorContains(t, err, "WRONGPASS")
	require.NotContains(t, err.Error(), "wr0ng")
}
