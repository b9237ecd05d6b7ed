package keywords_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/keywords"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// ledger has what dispatchers have carried out.
type ledger struct {
	mu   sync.Mutex
	done []float64
}

func (l *ledger) write(_ context.Context, v float64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.done = append(l.done, v)
	return nil
}

func (l *ledger) all() []float64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.done)
}

var Step = keywords.Define("stage", "STEP", keywords.Spec[float64]{})

func (l *ledger) serve(d *keywords.Dispatcher) {
	keywords.Serve(d, Step, keywords.Hooks[float64]{Write: l.write})
	keywords.Serve(d, Note, keywords.Hooks[string]{})
}

// outcome checks that what was carried out is in order, and fits what the futures say.
func (l *ledger) outcome(t *testing.T, futures []*keywords.Future) (good, unknown int) {
	t.Helper()
	for _, f := range futures {
		_, _ = f.Wait(soon(t))
	}
	done := l.all()
	require.True(t, slices.IsSorted(done), "%v", done)
	require.Len(t, slices.Compact(slices.Clone(done)), len(done), "carried out twice")
	for i, f := range futures {
		_, err := f.Wait(soon(t))
		_, ran := slices.BinarySearch(done, float64(i))
		switch {
		case err == nil:
			good++
			require.True(t, ran, "%d was not carried out", i)
		case errors.Is(err, keywords.ErrIndeterminate), errors.Is(err, context.DeadlineExceeded):
			unknown++
		default:
			require.False(t, ran, "%d was carried out: %v", i, err)
		}
	}
	return good, unknown
}

func TestModifyAsyncInOrder(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		l := &ledger{}
		run(t, pool, keywords.DispatcherConfig{}, l.serve).wait()
		k := client(t, pool)
		var futures []*keywords.Future
		for i := range 1000 {
			futures = append(futures, keywords.ModifyAsync(t.Context(), k, Step, float64(i)))
			if i%10 == 0 { // others are in the same order
				keywords.ModifyAsync(t.Context(), k, Note, fmt.Sprint(i))
			}
		}
		rev, err := keywords.Modify(t.Context(), k, Step, 1000)
		require.NoError(t, err)
		good, _ := l.outcome(t, futures)
		require.Equal(t, 1000, good)
		var before keywords.Revision
		for i, f := range futures {
			r, _ := f.Wait(t.Context())
			require.Positive(t, r.Compare(before), "revision of %d", i)
			before = r
		}
		require.Positive(t, rev.Compare(before), "a Modify that is called later")
	})
}

// Connections are cut, and the dispatcher is replaced, while modifies are on their way:
// some are lost, and no other is carried out in another order.
func TestModifyAsyncInOrderUnderCuts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := storagetest.NewNetwork(t)
		cfg := keywords.DispatcherConfig{Lease: time.Second}
		l := &ledger{}
		open := func() *storage.Pool { return storagetest.Open(t, network.Config()) }
		d := run(t, open(), cfg, l.serve).wait()
		k := client(t, open())
		var futures []*keywords.Future
		for i := range 6000 {
			futures = append(futures, keywords.ModifyAsync(t.Context(), k, Step, float64(i)))
			if i%20 == 0 {
				time.Sleep(time.Millisecond)
			}
			if i%400 == 200 {
				network.Cut()
			}
			if i%2000 == 1000 {
				d.stop()
				d = run(t, open(), cfg, l.serve)
			}
		}
		good, unknown := l.outcome(t, futures)
		require.Greater(t, good, 3000)
		t.Log(good, "good,", unknown, "unknown of", len(futures))
	})
}

// One that waits for its turn ends with its context, and those behind it go on in order.
func TestModifyAsyncGivesUpItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := storagetest.NewNetwork(t)
		l := &ledger{}
		run(t, storagetest.Open(t, network.Config()), keywords.DispatcherConfig{Lease: time.Hour}, l.serve).wait()
		wire := &cable{Network: network}
		k := client(t, wire.pool(t))
		wire.pull() // before the client has made its inbox: the first can't be sent
		begun := time.Now()
		var futures []*keywords.Future
		for i := range 9 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(1+i%3)*10*time.Second)
			defer cancel()
			futures = append(futures, keywords.ModifyAsync(ctx, k, Step, float64(i)))
		}
		for i := range 3 {
			for j := range 3 {
				_, err := futures[i+3*j].Wait(t.Context())
				if i < 2 {
					require.ErrorIs(t, err, context.DeadlineExceeded)
				} else {
					require.NoError(t, err)
				}
			}
			if i == 1 {
				require.InDelta(t, 20*time.Second, time.Since(begun), float64(time.Second), "virtual time")
				wire.plug()
			}
		}
		require.Equal(t, []float64{2, 5, 8}, l.all())

		wire.pull()
		last := keywords.ModifyAsync(t.Context(), k, Step, 9)
		require.NoError(t, k.Close())
		_, err := last.Wait(t.Context())
		require.ErrorIs(t, err, keywords.ErrClosed)
	})
}

// A request that comes late is refused, by the dispatcher that has carried out a later one.
func TestARequestThatWasOvertaken(t *testing.T) {
	t.Parallel()
	storagetest.Slow(t, func(t *testing.T, pool *storage.Pool) {
		l := &ledger{}
		run(t, pool, keywords.DispatcherConfig{}, l.serve).wait()
		c, err := bus.NewClient(pool, bus.ClientConfig{})
		require.NoError(t, err)
		defer c.Close()
		modify := func(client, turn int) error {
			body := fmt.Sprintf(`{"c":[{"k":"STEP","v":"%d"}],"o":"","i":%d,"t":%d}`, 10*client+turn, client, turn)
			_, err := bus.CallRaw(soon(t), c, bus.Group("kw.stage.main"), "modify", bus.Body{Codec: storage.JSON, Data: []byte(body)})
			return err
		}
		require.NoError(t, modify(1, 1))
		require.NoError(t, modify(1, 3))
		require.ErrorContains(t, modify(1, 2), string(keywords.CodeOvertaken))
		require.ErrorContains(t, modify(1, 3), string(keywords.CodeOvertaken))
		require.NoError(t, modify(2, 1))
		require.NoError(t, modify(1, 4))
		require.NoError(t, modify(0, 0))
		require.NoError(t, modify(0, 0))
		require.Equal(t, []float64{11, 13, 21, 14, 0, 0}, l.all())
	})
}
