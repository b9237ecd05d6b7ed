package storagetest_test

import (
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

var t *testing.T // of a test

// An hour passes in a millisecond.
func ExampleVirtual() {
	storagetest.Virtual(t, func(t *testing.T, pool *storage.Pool) {
		require.NoError(t, pool.Redis().Set(t.Context(), "lease", "mine", time.Hour).Err())
		time.Sleep(time.Hour)
		require.Zero(t, pool.Redis().Exists(t.Context(), "lease").Val())
	})
}

func ExampleNetwork() {
	synctest.Test(t, func(t *testing.T) {
		network := storagetest.NewNetwork(t)
		pool := storagetest.Open(t, network.Config())
		require.NoError(t, pool.Ping(t.Context()))
		network.Cut()
		require.NoError(t, pool.Ping(t.Context()), "the pool connects again")
	})
}

// A worker that is cut off is dead to all others.
func ExampleNetwork_Link() {
	synctest.Test(t, func(t *testing.T) {
		network := storagetest.NewNetwork(t)
		worker := network.Link()
		pool := storagetest.Open(t, worker.Config())
		require.NoError(t, pool.Ping(t.Context()))
		worker.Down()
		require.Error(t, pool.Ping(t.Context()))
	})
}

// The server is full, and works on as before once it has room.
func ExampleNetwork_Refuse() {
	synctest.Test(t, func(t *testing.T) {
		network := storagetest.NewNetwork(t)
		rdb := storagetest.Open(t, network.Config()).Redis()
		network.Refuse(storagetest.RefuseOOM)
		require.True(t, redis.IsOOMError(rdb.Set(t.Context(), "k", "v", 0).Err()))
		network.Refuse("")
		require.NoError(t, rdb.Set(t.Context(), "k", "v", 0).Err())
	})
}

// Whatever befalls the network, a counter does not fall.
func ExampleSchedules() {
	storagetest.Schedules(t, storagetest.ScheduleOptions{}, func(t *testing.T, seed uint64) {
		random := rand.New(rand.NewPCG(seed, 0))
		network := storagetest.NewNetwork(t)
		rdb := storagetest.Open(t, network.Config()).Redis()
		for last := int64(0); last < 10; {
			lasting := storagetest.Faults[:len(storagetest.Faults)-3] // the others lose data
			network.Befall(lasting[random.IntN(len(lasting))], random, time.Second)
			if n, err := rdb.Incr(t.Context(), "counter").Result(); err == nil {
				require.Greater(t, n, last)
				last = n
			}
		}
	})
}

// A replica takes the place of the primary of a key.
func ExampleStartCluster() {
	cluster := storagetest.StartCluster(t, storagetest.ClusterOptions{Replicas: true})
	old := cluster.Primary("key")
	old.Kill()
	require.Eventually(t, func() bool { return cluster.Primary("key") != old }, time.Minute, 100*time.Millisecond)
}

// An operator makes a replica the primary.
func ExampleSentinel_Failover() {
	sentinel := storagetest.StartSentinel(t)
	old := sentinel.Primary()
	sentinel.Failover()
	require.Eventually(t, func() bool { return sentinel.Primary() != old }, time.Minute, 100*time.Millisecond)
}

// A check that was removed on purpose must be missed by the tests.
func ExampleMutant() {
	storagetest.Mutant{
		Name: "no limit of names", File: "names.go",
		Changes: []string{"len(name) > maxName", "false"},
	}.Caught(t, "^TestNamesSchedules$", "100", "too long")
}
