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
		first := run(t, pool, keywords.DispatcherConfig{Lease: 2 * time.Second}, nil).wait()
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
