package storage_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// slowScripts is a network on which each script takes a second. It counts them.
type slowScripts struct {
	*storagetest.Network
	slow atomic.Bool
	n    atomic.Int32
}

func (s *slowScripts) pool(t *testing.T) *storage.Pool {
	cfg := s.Config()
	cfg.Redis.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := s.Dial(ctx, network, addr)
		return &slowConn{conn, s}, err
	}
	return storagetest.Open(t, cfg)
}

type slowConn struct {
	net.Conn
	of *slowScripts
}

func (c *slowConn) Write(b []byte) (int, error) {
	if c.of.slow.Load() && bytes.Contains(b, []byte("evalsha")) {
		c.of.n.Add(1)
		time.Sleep(time.Second)
	}
	return c.Conn.Write(b)
}

// group runs goroutines, and has the first error of them.
type group struct {
	wg   sync.WaitGroup
	once sync.Once
	err  error
}

func (g *group) Go(do func() error) {
	g.wg.Go(func() {
		if err := do(); err != nil {
			g.once.Do(func() { g.err = err })
		}
	})
}

func (g *group) Wait() error {
	g.wg.Wait()
	return g.err
}

// Changes that wait for one another go to Redis together.
func TestPresenceChangesManyAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := &slowScripts{Network: storagetest.NewNetwork(t)}
		pool := slow.pool(t)
		p := newPresence(t, pool, "a", storage.PresenceOptions{Lease: time.Hour, MaxMembers: 150})
		_, err := p.Add(t.Context(), "first")
		require.NoError(t, err)
		slow.slow.Store(true)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		var all group
		for i := range 100 {
			all.Go(func() error { // each is there, and then every second one is not
				name := fmt.Sprint(i)
				if n, err := p.Add(ctx, name, "first"); n != 1 || err != nil {
					return fmt.Errorf("added %d: %w", n, err)
				}
				if i%2 == 0 {
					return nil
				}
				if n, err := p.Remove(ctx, name, "nobody"); n != 1 || err != nil {
					return fmt.Errorf("removed %d: %w", n, err)
				}
				return nil
			})
		}
		require.NoError(t, all.Wait())
		require.Len(t, present(t, p), 51)
		require.LessOrEqual(t, slow.n.Load(), int32(6))
		_, err = p.Add(t.Context(), many(100)...)
		require.ErrorIs(t, err, storage.ErrFull)
	})
}

func many(n int) (names []string) {
	for i := range n {
		names = append(names, fmt.Sprint("more ", i))
	}
	return names
}

// A caller that gives up does not take others with it.
func TestPresenceChangesOfCallersThatGiveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := &slowScripts{Network: storagetest.NewNetwork(t)}
		pool := slow.pool(t)
		p := newPresence(t, pool, "a", storage.PresenceOptions{Lease: time.Hour})
		_, err := p.Add(t.Context(), "gone", "stays")
		require.NoError(t, err)
		slow.slow.Store(true)
		var all group
		change := func(after, patience time.Duration, do func(ctx context.Context) error, want error) {
			all.Go(func() error {
				time.Sleep(after)
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				if err := do(ctx); !errors.Is(err, want) {
					return fmt.Errorf("after %v: %v instead of %v", after, err, want)
				}
				return nil
			})
		}
		add := func(name string) func(ctx context.Context) error {
			return func(ctx context.Context) error { _, err := p.Add(ctx, name); return err }
		}
		change(0, 20*time.Second, add("one"), nil)                                                  // takes a second
		for _, patience := range []time.Duration{500 * time.Millisecond, 1500 * time.Millisecond} { // waits or leads; is in flight
			change(10*time.Millisecond, patience, add(fmt.Sprint("late ", patience)), context.DeadlineExceeded)
		}
		change(10*time.Millisecond, 20*time.Second, add("two"), nil)
		change(10*time.Millisecond, 20*time.Second, func(ctx context.Context) error {
			n, err := p.Remove(ctx, "gone")
			if n != 1 {
				return fmt.Errorf("removed %d: %w", n, err)
			}
			return err
		}, nil)
		require.NoError(t, all.Wait())
		require.NoError(t, add("three")(t.Context()))
		require.Equal(t, []string{"one@a", "stays@a", "three@a", "two@a"}, present(t, p))
	})
}
