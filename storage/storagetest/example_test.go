package storagetest_test

import (
	"testing"
	"testing/synctest"
	"time"

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
