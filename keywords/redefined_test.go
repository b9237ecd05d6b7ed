package keywords_test

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/keywords"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// speedIn has other units than Speed, and another limit.
var speedIn = keywords.Define("stage", "SPEED", keywords.Spec[float64]{Units: "m/s", Min: new(0.0), Max: new(30.0), Persist: true})

func serving[T keywords.Type](k keywords.Keyword[T]) func(*keywords.Dispatcher) {
	return func(d *keywords.Dispatcher) { keywords.Serve(d, k, keywords.Hooks[T]{}) }
}

// replace ends a dispatcher and runs another.
func replace(t *testing.T, pool *storage.Pool, d *running, serve func(*keywords.Dispatcher)) *running {
	t.Helper()
	d.stop()
	require.NoError(t, <-d.ended)
	return run(t, pool, keywords.DispatcherConfig{}, serve).wait()
}

func TestWatchersAreToldOfAnotherDefinition(t *testing.T) {
	t.Parallel()
	storagetest.Slow(t, func(t *testing.T, pool *storage.Pool) {
		persistent := keywords.Define("stage", "SPEED", keywords.Spec[float64]{Units: "mm/s", Persist: true, Initial: new(math.NaN())})
		d := run(t, pool, keywords.DispatcherConfig{}, serving(persistent)).wait()
		k := client(t, pool)
		rev, err := keywords.Modify(soon(t), k, Speed, 2)
		require.NoError(t, err)
		var heard []keywords.EventKind
		calls := make(chan struct{}, 10)
		l, err := keywords.Listen(soon(t), k, Speed, func(ev keywords.Event[float64]) {
			heard = append(heard, ev.Kind)
			calls <- struct{}{}
		})
		require.NoError(t, err)
		defer l.Close()
		<-calls
		next := watched(t, keywords.Watch(soon(t), k, Speed))
		next(keywords.EventInitial)

		// The same definition again is none.
		d = replace(t, pool, d, serving(persistent))
		time.Sleep(50 * time.Millisecond)
		next(keywords.EventGood)

		d = replace(t, pool, d, serving(speedIn))
		time.Sleep(50 * time.Millisecond)
		ev := next(keywords.EventRedefined)
		require.Equal(t, speedIn.Definition().Units, ev.Definition.Units)
		require.Equal(t, 30.0, ev.Definition.Max)
		require.Equal(t, 2.0, ev.Value.V)
		require.Positive(t, ev.Value.Rev.Compare(rev), "as it was yielded last")
		require.Equal(t, 2.0, ev.Prev.V)
		ev = next(keywords.EventGood)
		require.Nil(t, ev.Definition)

		// A watcher that was slow is told too, before the value that was set under it.
		replace(t, pool, d, serving(persistent))
		_, err = keywords.Modify(soon(t), k, Speed, 3)
		require.NoError(t, err)
		time.Sleep(50 * time.Millisecond)
		ev = next(keywords.EventRedefined)
		require.Equal(t, "mm/s", ev.Definition.Units)
		require.Equal(t, 2.0, ev.Value.V)
		for ev.Value.V != 3 {
			ev = next(keywords.EventChange)
		}
		require.NoError(t, l.Close())
		for len(calls) > 0 {
			<-calls
		}
		require.Contains(t, heard, keywords.EventRedefined)
	})
}

// A definition of another type is told with the reason why values can't be read.
func TestAnotherTypeIsARedefinition(t *testing.T) {
	storagetest.Virtual(t, func(t *testing.T, pool *storage.Pool) {
		words := keywords.Define("stage", "SPEED", keywords.Spec[string]{Initial: new("slow")})
		d := run(t, pool, keywords.DispatcherConfig{}, serving(Speed)).wait()
		k := client(t, pool)
		next := watched(t, keywords.Watch(soon(t), k, Speed))
		next(keywords.EventInitial)
		done := make(chan error, 1)
		go func() {
			_, err := keywords.WaitFor(t.Context(), k, Speed, func(float64) bool { return false })
			done <- err
		}()
		time.Sleep(10 * time.Millisecond)
		replace(t, pool, d, serving(words))
		ev := next(keywords.EventRedefined)
		require.Equal(t, keywords.KindString, ev.Definition.Kind)
		ev = next(keywords.EventMismatch)
		require.Error(t, ev.Err)
		require.Error(t, <-done)
	})
}

// A keyword that was removed and comes back with another definition is told with its
// next value.
func TestRedefinedWhileGone(t *testing.T) {
	storagetest.Virtual(t, func(t *testing.T, pool *storage.Pool) {
		d := run(t, pool, keywords.DispatcherConfig{}, serving(Speed)).wait()
		k := client(t, pool)
		next := watched(t, keywords.Watch(soon(t), k, Speed))
		next(keywords.EventInitial)
		d = replace(t, pool, d, serving(ModeOf))
		time.Sleep(10 * time.Millisecond)
		next(keywords.EventGone)
		replace(t, pool, d, serving(speedIn))
		_, err := keywords.Modify(soon(t), k, Speed, 25)
		require.NoError(t, err)
		ev := next(keywords.EventRedefined)
		require.Equal(t, "m/s", ev.Definition.Units)
		require.Equal(t, 25.0, next(keywords.EventChange).Value.V)
	})
}

// A watch with Every is told of another definition before the values that were set under
// it, also where the definition has changed back while the loop was busy.
func TestEveryWatchIsToldOfAnotherDefinition(t *testing.T) {
	t.Run("queue", func(t *testing.T) { redefinedOften(t, keywords.WatchOptions{Every: true}) })
	t.Run("history", func(t *testing.T) { redefinedOften(t, keywords.WatchOptions{Every: true, Queue: 1}) })
}

func redefinedOften(t *testing.T, o keywords.WatchOptions) {
	storagetest.Virtual(t, func(t *testing.T, pool *storage.Pool) {
		in := func(units string) keywords.Keyword[float64] {
			return keywords.Define("stage", "SPEED", keywords.Spec[float64]{Units: units, History: 100, Persist: true})
		}
		d := run(t, pool, keywords.DispatcherConfig{}, serving(in("mm/s"))).wait()
		k := client(t, pool)
		set := func(v float64) {
			_, err := keywords.Modify(soon(t), k, Speed, v)
			require.NoError(t, err)
		}
		set(1)
		next := watched(t, keywords.Watch(soon(t), k, Speed, o))
		require.Equal(t, 1.0, next(keywords.EventInitial).Value.V)

		d = replace(t, pool, d, serving(in("m/s")))
		time.Sleep(10 * time.Millisecond)
		set(2)
		set(3)
		time.Sleep(10 * time.Millisecond)
		ev := next(keywords.EventRedefined)
		require.Equal(t, "m/s", ev.Definition.Units)
		require.Equal(t, 1.0, ev.Value.V)
		require.Equal(t, 2.0, next(keywords.EventChange).Value.V)
		require.Equal(t, 3.0, next(keywords.EventChange).Value.V)

		// The definition alone, without a value that was set under it.
		d = replace(t, pool, d, serving(in("cm/s")))
		time.Sleep(10 * time.Millisecond)
		ev = next(keywords.EventRedefined)
		require.Equal(t, "cm/s", ev.Definition.Units)
		require.Equal(t, 3.0, ev.Value.V)

		// While the loop is busy: each value after its definition.
		set(4)
		d = replace(t, pool, d, serving(in("m/s")))
		set(5)
		replace(t, pool, d, serving(in("mm/s")))
		set(6)
		time.Sleep(10 * time.Millisecond)
		ev = next(keywords.EventChange)
		require.Equal(t, 4.0, ev.Value.V)
		for i, units := range []string{"m/s", "mm/s"} {
			ev = next(keywords.EventRedefined)
			require.Equal(t, units, ev.Definition.Units)
			require.Equal(t, float64(4+i), ev.Value.V)
			require.Equal(t, float64(5+i), next(keywords.EventChange).Value.V)
		}
	})
}
