package keywords_test

import (
	"errors"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/keywords"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// One that has lost its lease before it has begun publishes no definitions, and
// deletes nothing.
func TestADispatcherThatBeginsTooLateWritesNothing(t *testing.T) {
	t.Parallel()
	other := keywords.Define("stage", "OTHER", keywords.Spec[int]{})
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		run(t, pool, keywords.DispatcherConfig{}, nil).wait()
		k := client(t, pool)
		_, err := keywords.Modify(soon(t), k, Speed, 7)
		require.NoError(t, err)
		before, err := k.Keywords(soon(t), "stage")
		require.NoError(t, err)
		late, err := keywords.NewDispatcher(pool, keywords.DispatcherConfig{Service: "stage"})
		require.NoError(t, err)
		keywords.Serve(late, other, keywords.Hooks[int]{}) // and not the others, which it would delete
		keywords.Serve(late, Speed, keywords.Hooks[float64]{})
		loaded, published := keywords.BeginLate(soon(t), late)
		require.ErrorIs(t, loaded, keywords.CodeFenced)
		require.ErrorIs(t, published, keywords.CodeFenced)
		after, err := k.Keywords(soon(t), "stage")
		require.NoError(t, err)
		require.Equal(t, before, after)
		v, err := keywords.Read(soon(t), k, Speed)
		require.NoError(t, err)
		require.Equal(t, 7.0, v.V)
	})
}

// settles sets SPEED again and again until that succeeds, whatever
// becomes of Redis, and the watcher end on it.
func settles(t *testing.T, k *keywords.Client, n *newestSpeed, want float64) keywords.Value[float64] {
	t.Helper()
	require.Eventually(t, func() bool {
		_, err := keywords.Modify(soon(t), k, Speed, want)
		var said *keywords.Error
		if errors.As(err, &said) {
			t.Fatal(err)
		}
		return err == nil
	}, patience, 10*time.Millisecond)
	n.await(want)
	v, err := keywords.Read(soon(t), k, Speed)
	require.NoError(t, err)
	require.Equal(t, want, v.V)
	return v
}

// The cluster node of the service is killed, and comes back without its data.
func TestANodeOfTheClusterLosesItsData(t *testing.T) {
	storagetest.Long(t)
	t.Parallel()
	cluster := storagetest.StartCluster(t)
	pool := storagetest.Open(t, cluster.Config())
	d := run(t, pool, keywords.DispatcherConfig{Lease: time.Second}, nil).wait()
	k := client(t, storagetest.Open(t, cluster.Config()))
	n := newest(t, k)
	before := settles(t, k, n, 7)
	node, err := pool.Redis().(*redis.ClusterClient).MasterForKey(t.Context(), "kw:{stage}:def")
	require.NoError(t, err)
	for _, srv := range cluster.Nodes {
		if srv.Addr() == node.Options().Addr {
			srv.Restart()
		}
	}
	n.await(7) // written again
	after := settles(t, k, n, 8)
	require.NotEqual(t, before.Rev.Epoch, after.Rev.Epoch)
	require.False(t, isEnded(d))
}

// The primary is killed, and a replica takes its place.
func TestSentinelsPromoteAReplica(t *testing.T) {
	storagetest.Long(t)
	t.Parallel()
	sentinel := storagetest.StartSentinel(t)
	d := run(t, storagetest.Open(t, sentinel.Config()), keywords.DispatcherConfig{Lease: time.Second}, nil).wait()
	k := client(t, storagetest.Open(t, sentinel.Config()))
	n := newest(t, k)
	settles(t, k, n, 7)
	sentinel.Primary().Kill()
	settles(t, k, n, 8)
	require.False(t, isEnded(d))
}

func isEnded(d *running) bool {
	select {
	case <-d.ended:
		return true
	default:
		return false
	}
}
