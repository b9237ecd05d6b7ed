package storage_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

type star struct {
	Name string
	Mag  float64
}

func TestSet(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		ctx := t.Context()
		s, err := storage.NewSet[star](pool, "stars")
		require.NoError(t, err)
		vega, deneb := star{"Vega", 0.03}, star{"Deneb", 1.25}
		n, err := s.Add(ctx)
		require.NoError(t, err)
		require.Zero(t, n)
		n, err = s.Add(ctx, vega, deneb, vega)
		require.NoError(t, err)
		require.Equal(t, 2, n)
		in, err := s.Contains(ctx, star{"Vega", 0.03})
		require.NoError(t, err)
		require.True(t, in)
		in, err = s.Contains(ctx, star{"Vega", 0.04})
		require.NoError(t, err)
		require.False(t, in)
		got, err := s.Get(ctx)
		require.NoError(t, err)
		require.ElementsMatch(t, []star{vega, deneb}, got)
		n, err = s.Len(ctx)
		require.NoError(t, err)
		require.Equal(t, 2, n)
		n, err = s.Remove(ctx)
		require.NoError(t, err)
		require.Zero(t, n)
		n, err = s.Remove(ctx, vega, star{"Sun", -26.7})
		require.NoError(t, err)
		require.Equal(t, 1, n)
		was, err := s.Clear(ctx)
		require.NoError(t, err)
		require.True(t, was)
		was, err = s.Clear(ctx)
		require.NoError(t, err)
		require.False(t, was)
	})
}

func TestSetAllReadsPages(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		s, err := storage.NewSet[int](pool, "numbers", storage.ObjectOptions{TTL: 3600e9})
		require.NoError(t, err)
		var want []int
		for i := range 10_000 { // more than Lua unpacks, too
			want = append(want, i)
		}
		n, err := s.Add(t.Context(), want...)
		require.NoError(t, err)
		require.Equal(t, len(want), n)
		var got []int
		for i, err := range s.All(t.Context()) {
			require.NoError(t, err)
			got = append(got, i)
		}
		slices.Sort(got)
		require.Equal(t, want, got)

		for range s.All(t.Context()) {
			break
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var last error
		for _, last = range s.All(ctx) {
			cancel()
		}
		if strings.HasSuffix(t.Name(), "/redis") { // miniredis answers all in one page
			require.ErrorIs(t, last, context.Canceled)
		}
	})
}

func TestMap(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		ctx := t.Context()
		m, err := storage.NewMap[star](pool, "stars")
		require.NoError(t, err)
		vega, deneb := star{"Vega", 0.03}, star{"Deneb", 1.25}
		_, ok, err := m.Get(ctx, "a")
		require.NoError(t, err)
		require.False(t, ok)
		require.NoError(t, m.Put(ctx, "a", deneb))
		require.NoError(t, m.Put(ctx, "a", vega))
		require.NoError(t, m.Put(ctx, "", deneb), "a field is any string")
		got, ok, err := m.Get(ctx, "a")
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, vega, got)

		put, err := m.PutIfAbsent(ctx, "a", deneb)
		require.NoError(t, err)
		require.False(t, put)
		put, err = m.PutIfAbsent(ctx, "b", deneb)
		require.NoError(t, err)
		require.True(t, put)

		for _, c := range []struct {
			field string
			old   star
			want  bool
		}{{"nobody", star{}, false}, {"a", deneb, false}, {"a", vega, true}, {"a", vega, false}} {
			swapped, err := m.CompareAndSwap(ctx, c.field, c.old, deneb)
			require.NoError(t, err)
			require.Equal(t, c.want, swapped, c)
		}
		all := map[string]star{}
		for e, err := range m.All(ctx) {
			require.NoError(t, err)
			all[e.Field] = e.Value
		}
		require.Equal(t, map[string]star{"": deneb, "a": deneb, "b": deneb}, all)

		n, err := m.Delete(ctx)
		require.NoError(t, err)
		require.Zero(t, n)
		n, err = m.Delete(ctx, "a", "nobody")
		require.NoError(t, err)
		require.Equal(t, 1, n)
		n, err = m.Len(ctx)
		require.NoError(t, err)
		require.Equal(t, 2, n)
	})
}

func TestMapAllReadsPages(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		m, err := storage.NewMap[int](pool, "numbers")
		require.NoError(t, err)
		pipe := pool.Redis().Pipeline()
		for i := range 2000 {
			data, err := storage.MsgPack.Marshal(i)
			require.NoError(t, err)
			pipe.HSet(t.Context(), m.Key(), strconv.Itoa(i), data)
		}
		_, err = pipe.Exec(t.Context())
		require.NoError(t, err)
		seen := map[string]bool{}
		for e, err := range m.All(t.Context()) {
			require.NoError(t, err)
			require.Equal(t, e.Field, strconv.Itoa(e.Value))
			seen[e.Field] = true
		}
		require.Len(t, seen, 2000)
	})
}

// Of many who put or swap at the same time, one does.
func TestMapOneWins(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		m, err := storage.NewMap[int](pool, "m")
		require.NoError(t, err)
		for round := range 20 {
			field := strconv.Itoa(round)
			var put, swapped atomic.Int32
			var racers sync.WaitGroup
			for range 8 {
				racers.Go(func() {
					if won, err := m.PutIfAbsent(t.Context(), field, 1); err != nil {
						panic(err)
					} else if won {
						put.Add(1)
					}
					if won, err := m.CompareAndSwap(t.Context(), field, 1, 2); err != nil {
						panic(err)
					} else if won {
						swapped.Add(1)
					}
				})
			}
			racers.Wait()
			require.EqualValues(t, 1, put.Load())
			require.EqualValues(t, 1, swapped.Load())
		}
	})
}

func TestValue(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		ctx := t.Context()
		v, err := storage.NewValue[*star](pool, "star", storage.ObjectOptions{Codec: storage.JSON})
		require.NoError(t, err)
		_, ok, err := v.Get(ctx)
		require.NoError(t, err)
		require.False(t, ok)
		require.NoError(t, v.Set(ctx, &star{"Vega", 0.03}))
		got, ok, err := v.Get(ctx)
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, &star{"Vega", 0.03}, got)
		require.NoError(t, v.Set(ctx, nil), "null is a value")
		got, ok, err = v.Get(ctx)
		require.NoError(t, err)
		require.True(t, ok)
		require.Nil(t, got)

		failed := errors.New("no")
		_, err = v.Update(ctx, func(*star, bool) (*star, error) { return &star{}, failed })
		require.Equal(t, failed, err)
		got, err = v.Update(ctx, func(old *star, ok bool) (*star, error) {
			require.True(t, ok)
			require.Nil(t, old)
			return &star{Name: "Sun"}, nil
		})
		require.NoError(t, err)
		require.Equal(t, "Sun", got.Name)
		was, err := v.Clear(ctx)
		require.NoError(t, err)
		require.True(t, was)
		got, err = v.Update(ctx, func(old *star, ok bool) (*star, error) {
			require.False(t, ok)
			require.Nil(t, old)
			return &star{Name: "Moon"}, nil
		})
		require.NoError(t, err)
		require.Equal(t, "Moon", got.Name)
	})
}

func TestValueUpdateLosesNothing(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		v, err := storage.NewValue[int](pool, "n")
		require.NoError(t, err)
		const writers, each = 16, 20
		var done sync.WaitGroup
		for range writers {
			done.Go(func() {
				for range each {
					if _, err := v.Update(t.Context(), func(n int, _ bool) (int, error) { return n + 1, nil }); err != nil {
						panic(err)
					}
				}
			})
		}
		done.Wait()
		n, _, err := v.Get(t.Context())
		require.NoError(t, err)
		require.Equal(t, writers*each, n)
	})
}

func TestValueUpdateGivesUp(t *testing.T) {
	t.Parallel()
	pool := storagetest.New(t)
	v, err := storage.NewValue[int](pool, "n")
	require.NoError(t, err)
	tries := 0
	meddle := func(n int, _ bool) (int, error) {
		tries++
		return -1, v.Set(t.Context(), tries)
	}
	_, err = v.Update(t.Context(), meddle)
	require.ErrorIs(t, err, storage.ErrConflict)
	require.Equal(t, 100, tries)
	n, _, err := v.Get(t.Context())
	require.NoError(t, err)
	require.Equal(t, 100, n, "what the other wrote")

	ctx, cancel := context.WithCancel(t.Context())
	_, err = v.Update(ctx, func(n int, ok bool) (int, error) {
		cancel()
		return meddle(n, ok)
	})
	require.ErrorIs(t, err, context.Canceled)
}

func openObject(pool *storage.Pool) func(t *testing.T) storage.Object {
	return func(t *testing.T) storage.Object {
		o, err := storage.NewObject(pool, t.Name(), storage.ObjectOptions{TTL: 3600e9})
		require.NoError(t, err)
		return o
	}
}

func TestObject(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) { storagetest.Object(t, openObject(pool)) })
	t.Run("memory", func(t *testing.T) {
		storagetest.Object(t, func(t *testing.T) storage.Object {
			o, err := storage.NewMemoryObject()
			require.NoError(t, err)
			return o
		})
	})
}

func TestObjectInMemoryIsBounded(t *testing.T) {
	t.Parallel()
	_, err := storage.NewMemoryObject(storage.MemoryOptions{MaxMembers: -1})
	require.ErrorContains(t, err, "MemoryOptions.MaxMembers: -1")
	o, err := storage.NewMemoryObject(storage.MemoryOptions{MaxMembers: 3})
	require.NoError(t, err)
	ctx := t.Context()
	for i := range 3 {
		_, err := o.Add(ctx, fmt.Sprint(i), "x")
		require.NoError(t, err)
	}
	_, err = o.Add(ctx, "0", "x", "y")
	require.ErrorIs(t, err, storage.ErrFull)
	n, err := o.Add(ctx, "0", "x")
	require.NoError(t, err)
	require.Zero(t, n)
	_, err = o.Remove(ctx, "1", "x")
	require.NoError(t, err)
	_, err = o.Add(ctx, "0", "y")
	require.NoError(t, err)
}
