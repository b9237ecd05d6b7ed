package keywords_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/keywords"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// Redis loses its data while a second dispatcher waits: the first, which has the
// values, goes on.
func TestAStandbyDoesNotTakeOverAfterARestart(t *testing.T) {
	t.Parallel()
	storagetest.Outages(t, func(t *testing.T, pool *storage.Pool, down, up func()) {
		first := run(t, pool, keywords.DispatcherConfig{Lease: 6 * time.Second}, nil).wait()
		run(t, storagetest.Open(t, pool.Config()), keywords.DispatcherConfig{Lease: 300 * time.Millisecond}, nil)
		k := client(t, pool)
		n := newest(t, k)
		_, err := keywords.Modify(soon(t), k, Speed, 7)
		require.NoError(t, err)
		for range 3 {
			time.Sleep(500 * time.Millisecond) // the standby looks three times in its lease
			down()
			up()
			require.Eventually(t, func() bool {
				select {
				case err := <-first.ended:
					t.Fatal("the first one has ended: ", err)
				default:
				}
				v, err := keywords.Read(soon(t), k, Speed)
				return err == nil && v.V == 7
			}, patience, time.Millisecond)
		}
		n.await(7)
	})
}

// A dispatcher ends when it is told to, also while Redis is away and a write waits
// for its commit.
func TestADispatcherEndsWithoutRedis(t *testing.T) {
	t.Parallel()
	storagetest.Outages(t, func(t *testing.T, pool *storage.Pool, down, up func()) {
		entered, leave := make(chan struct{}), make(chan struct{})
		d := run(t, pool, keywords.DispatcherConfig{Status: "STATUS", Heartbeat: "CLK", Drain: time.Second}, func(d *keywords.Dispatcher) {
			keywords.Serve(d, Speed, keywords.Hooks[float64]{Write: func(context.Context, float64) error {
				close(entered)
				<-leave
				return nil
			}})
		}).wait()
		k := client(t, pool)
		ended := make(chan error, 1)
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		go func() {
			_, err := keywords.Modify(ctx, k, Speed, 7)
			ended <- err
		}()
		<-entered
		down()
		close(leave)
		d.stop()
		select {
		case err := <-d.ended:
			require.NoError(t, err)
		case <-time.After(2 * patience):
			t.Fatal("it does not end")
		}
		cancel()
		require.Error(t, <-ended)
	})
}

// Redis comes back with an older snapshot, in which no lease is valid, while a second
// dispatcher waits: the first, which knows the values, goes on, whenever the second looks.
func TestAStandbyDoesNotTakeOverAfterARollback(t *testing.T) {
	for _, phase := range []time.Duration{0, 500 * time.Millisecond, time.Second, 1500 * time.Millisecond} {
		storagetest.Virtual(t, func(t *testing.T, pool *storage.Pool) {
			ctx, k := t.Context(), client(t, pool)
			first := run(t, pool, keywords.DispatcherConfig{}, nil).wait()
			restore := snap(t, pool)
			_, err := keywords.Modify(ctx, k, Note, "first")
			require.NoError(t, err)
			earlier := run(t, pool, keywords.DispatcherConfig{}, nil)
			first.stop() // and so a greater number than that of the snapshot
			require.NoError(t, <-first.ended)
			earlier.wait()
			run(t, pool, keywords.DispatcherConfig{Lease: 4 * time.Second}, nil)
			time.Sleep(9*time.Second + phase)
			_, err = keywords.Modify(ctx, k, Note, "kept")
			require.NoError(t, err)

			restore()
			time.Sleep(10 * time.Second)
			v, err := keywords.Read(ctx, k, Note)
			require.NoError(t, err)
			require.Equal(t, "kept", v.V, "phase %v", phase)
			select {
			case err := <-earlier.ended:
				t.Fatal("the dispatcher ended: ", err)
			default:
			}
		})
	}
}
