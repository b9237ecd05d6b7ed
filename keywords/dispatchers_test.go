package keywords_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/keywords"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

func dispatchersOf(t *testing.T, k *keywords.Client) []keywords.DispatcherInfo {
	t.Helper()
	all, err := k.Dispatchers(soon(t), "stage")
	require.NoError(t, err)
	return all
}

// waits returns once so many dispatchers wait to take over from the first.
func waits(t *testing.T, k *keywords.Client, n int) []keywords.DispatcherInfo {
	t.Helper()
	require.Eventually(t, func() bool { return len(dispatchersOf(t, k)[0].Standbys) == n }, patience, 10*time.Millisecond)
	return dispatchersOf(t, k)
}

func TestDispatchersOfAService(t *testing.T) {
	t.Parallel()
	storagetest.Slow(t, func(t *testing.T, pool *storage.Pool) {
		k := client(t, pool)
		_, err := k.Dispatchers(soon(t), "stage")
		require.ErrorIs(t, err, keywords.CodeUnknownService)
		_, err = k.Dispatchers(soon(t), "st*ge")
		require.ErrorContains(t, err, "keywords: service")

		cfg := keywords.DispatcherConfig{Lease: time.Second}
		begun := time.Now()
		first := run(t, pool, cfg, nil).wait()
		lamp := keywords.Define("stage", "LAMP", keywords.Spec[bool]{Dispatcher: "lamps"})
		lamps := run(t, pool, keywords.DispatcherConfig{Name: "lamps"}, func(d *keywords.Dispatcher) { keywords.Serve(d, lamp, keywords.Hooks[bool]{}) }).wait()
		all := dispatchersOf(t, k)
		require.Len(t, all, 2)
		require.Equal(t, []string{"lamps", "main"}, []string{all[0].Name, all[1].Name})
		rev, err := keywords.Modify(soon(t), k, Speed, 2)
		require.NoError(t, err)
		main := all[1]
		require.Equal(t, rev.Epoch, main.Epoch)
		require.Equal(t, "stage", main.Service)
		require.Equal(t, os.Getpid(), main.Serving.PID)
		require.True(t, strings.HasPrefix(main.Serving.Worker, "kw.stage.main:"+main.Serving.Host+":"), main.Serving.Worker)
		require.WithinDuration(t, begun, main.Serving.Since, patience)
		require.Empty(t, main.Standbys)
		require.NotNil(t, main.Standbys, "[] in JSON")

		lamps.stop()
		require.NoError(t, <-lamps.ended)
		all = dispatchersOf(t, k)
		require.Nil(t, all[0].Serving, "it has ended")
		require.Equal(t, "lamps", all[0].Name)

		// Two wait, and the one that has waited for longer is the first.
		both := []*running{run(t, pool, cfg, nil)}
		standbys := func(n int) []keywords.DispatcherProcess {
			t.Helper()
			require.Eventually(t, func() bool { return len(dispatchersOf(t, k)[1].Standbys) == n }, patience, 10*time.Millisecond)
			return dispatchersOf(t, k)[1].Standbys
		}
		oldest := standbys(1)[0].Worker
		both = append(both, run(t, pool, cfg, nil))
		two := standbys(2)
		require.Equal(t, oldest, two[0].Worker)
		require.False(t, two[1].Since.Before(two[0].Since))
		require.Equal(t, os.Getpid(), two[0].PID)

		first.stop()
		require.NoError(t, <-first.ended)
		one := standbys(1)[0].Worker
		serving := func() *keywords.DispatcherProcess { return dispatchersOf(t, k)[1].Serving }
		require.Eventually(t, func() bool { return serving() != nil }, patience, 10*time.Millisecond)
		require.NotEqual(t, one, serving().Worker)
		require.NotEqual(t, main.Serving.Worker, serving().Worker)
		require.Greater(t, dispatchersOf(t, k)[1].Epoch, main.Epoch)
		for _, d := range both {
			d.stop()
		}
		for _, d := range both {
			require.NoError(t, <-d.ended)
		}
		require.Empty(t, standbys(0))
		require.Nil(t, serving())
		require.NoError(t, k.Clear(soon(t), "stage"))
		_, err = k.Dispatchers(soon(t), "stage")
		require.ErrorIs(t, err, keywords.CodeUnknownService)
	})
}

// A standby that has died, or can't reach Redis, is not listed for longer than its lease.
func TestAStandbyThatIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := storagetest.NewNetwork(t)
		wire := &cable{Network: network}
		pool := storagetest.Open(t, network.Config())
		run(t, pool, keywords.DispatcherConfig{}, nil).wait()
		k := client(t, pool)
		run(t, wire.pool(t), keywords.DispatcherConfig{Lease: time.Second}, nil)
		run(t, pool, keywords.DispatcherConfig{Lease: time.Minute}, nil)
		waits(t, k, 2)
		wire.pull()
		time.Sleep(time.Second)
		require.Len(t, dispatchersOf(t, k)[0].Standbys, 1)
		wire.plug()
		waits(t, k, 2)
	})
}

// What Dispatchers does is bounded.
func TestDispatchersAreReadInOneStep(t *testing.T) {
	storagetest.Virtual(t, func(t *testing.T, pool *storage.Pool) {
		run(t, pool, keywords.DispatcherConfig{}, nil).wait()
		k := client(t, pool)
		key := "kw:{stage}:wait:main"
		for i := range 300 {
			member := time.Now().Add(time.Duration(i)*time.Second).Format("20060102150405") + " kw.stage.main:a:1:b"
			require.NoError(t, pool.Redis().Do(t.Context(), "zadd", key, time.Now().Add(time.Hour).UnixMilli(), member).Err())
		}
		require.Len(t, dispatchersOf(t, k)[0].Standbys, 100)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := k.Dispatchers(ctx, "stage")
		require.ErrorIs(t, err, context.Canceled)
	})
}
