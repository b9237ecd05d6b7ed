package storagetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/heliograph/heliograph/storage"
)

// Object tests an implementation of [storage.Object]. Open returns one that is
// empty, for each subtest anew.
func Object(t *testing.T, open func(t *testing.T) storage.Object) {
	t.Helper()
	for name, test := range map[string]func(*objectTest){
		"Empty":      (*objectTest).empty,
		"AddRemove":  (*objectTest).addRemove,
		"AnyMember":  (*objectTest).anyMember,
		"Keys":       (*objectTest).keys,
		"BadKey":     (*objectTest).badKey,
		"Cancelled":  (*objectTest).cancelled,
		"Concurrent": (*objectTest).concurrent,
	} {
		t.Run(name, func(t *testing.T) { test(&objectTest{t, open(t)}) })
	}
}

type objectTest struct {
	*testing.T
	storage.Object
}

func (t *objectTest) holds(key string, want ...string) {
	t.Helper()
	got, err := t.Get(t.Context(), key)
	slices.Sort(got)
	slices.Sort(want)
	if err != nil || !slices.Equal(got, want) {
		t.Fatalf("%q holds %q, %v; want %q", key, got, err, want)
	}
}

// counts fails unless a change gave that count.
func (t *objectTest) counts(want int, change func(context.Context, string, ...string) (int, error), key string, members ...string) {
	t.Helper()
	if n, err := change(t.Context(), key, members...); err != nil || n != want {
		t.Fatalf("%q, %q: %d, %v; want %d", key, members, n, err, want)
	}
}

func (t *objectTest) empty() {
	t.holds("nobody")
	t.counts(0, t.Add, "nobody")
	t.counts(0, t.Remove, "nobody")
	t.counts(0, t.Remove, "nobody", "ann")
	t.holds("nobody")
}

func (t *objectTest) addRemove() {
	t.counts(2, t.Add, "users", "ann", "bob")
	t.counts(1, t.Add, "users", "bob", "cid", "cid")
	t.holds("users", "ann", "bob", "cid")
	t.counts(2, t.Remove, "users", "ann", "cid", "dan", "ann")
	t.holds("users", "bob")
	t.counts(1, t.Remove, "users", "bob")
	t.holds("users")
	t.counts(1, t.Add, "users", "ann")
	t.holds("users", "ann")
}

func (t *objectTest) anyMember() {
	members := []string{"", " ", "a b", "*", "{x}", "é", "\x00", "line\nline"}
	t.counts(len(members), t.Add, "odd", members...)
	t.holds("odd", members...)
	t.counts(len(members), t.Remove, "odd", members...)
}

func (t *objectTest) keys() {
	t.counts(1, t.Add, "a", "x")
	t.counts(1, t.Add, "a:b", "x")
	t.counts(1, t.Remove, "a", "x")
	t.holds("a:b", "x")
}

func (t *objectTest) badKey() {
	for _, key := range []string{"", "a b", "a*", "{a"} {
		_, err := t.Get(t.Context(), key)
		_, err2 := t.Add(t.Context(), key, "x")
		_, err3 := t.Remove(t.Context(), key, "x")
		if err == nil || err2 == nil || err3 == nil {
			t.Errorf("key %q: Get %v, Add %v, Remove %v; want errors", key, err, err2, err3)
		}
	}
}

func (t *objectTest) cancelled() {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := t.Get(ctx, "users")
	_, err2 := t.Add(ctx, "users", "ann")
	_, err3 := t.Remove(ctx, "users", "ann")
	for _, err := range []error{err, err2, err3} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%v, want context.Canceled", err)
		}
	}
	t.holds("users")
}

// concurrent lets many callers add and remove the same members: each member is added once and
// removed once, by whichever caller.
func (t *objectTest) concurrent() {
	const members, callers = 50, 8
	for _, change := range []func(context.Context, string, ...string) (int, error){t.Add, t.Remove} {
		var total atomic.Int64
		var done sync.WaitGroup
		for range callers {
			done.Go(func() {
				for i := range members {
					n, err := change(t.Context(), "busy", fmt.Sprint(i))
					if err != nil {
						t.Error(err)
					}
					total.Add(int64(n))
				}
			})
		}
		done.Wait()
		if total.Load() != members {
			t.Errorf("%d counted, want %d", total.Load(), members)
		}
	}
	t.holds("busy")
}
