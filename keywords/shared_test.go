package keywords_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/keywords"
	"github.com/heliograph/heliograph/pubsub"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// host has the clients of a program that uses all packages.
type host struct {
	ps *pubsub.Client
	bc *bus.Client
}

func newHost(t *testing.T, pool *storage.Pool) host {
	ps, err := pubsub.NewClient(pool, pubsub.Config{})
	require.NoError(t, err)
	bc, err := bus.NewClient(pool, bus.ClientConfig{Retry: bus.Retry{Attempts: 100}})
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, ps.Close())
		require.NoError(t, bc.Close())
	})
	return host{ps, bc}
}

func (h host) client(t *testing.T, pool *storage.Pool, cfg keywords.ClientConfig) *keywords.Client {
	cfg.PubSub, cfg.Bus = h.ps, h.bc
	k, err := keywords.NewClient(pool, cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, k.Close()) })
	return k
}

var greetings = pubsub.NewTopic[string]("greetings")

// use uses both clients.
func (h host) use(t *testing.T) {
	t.Helper()
	_, err := h.bc.Workers(t.Context(), "")
	require.NoError(t, err)
	err = bus.Send(t.Context(), h.bc, bus.Group("nobody"), bus.NewMethod[string, string]("greet"), "hello")
	require.ErrorIs(t, err, bus.ErrNoWorkers)
	sub, err := pubsub.Subscribe(t.Context(), h.ps, greetings)
	require.NoError(t, err)
	defer sub.Close()
	_, err = pubsub.Publish(t.Context(), h.ps, greetings, "hello")
	require.NoError(t, err)
	require.Equal(t, "hello", (<-sub.C()).Value)
}

func TestSharedClientsSaveConnections(t *testing.T) {
	connections := func(client func(t *testing.T, h host, pool *storage.Pool) *keywords.Client) (n int) {
		synctest.Test(t, func(t *testing.T) {
			network := storagetest.NewNetwork(t)
			pool := storagetest.Open(t, network.Config())
			run(t, pool, keywords.DispatcherConfig{}, nil).wait()
			h := newHost(t, pool)
			h.use(t)
			k := client(t, h, pool)
			next := watched(t, keywords.Watch(t.Context(), k, Speed))
			next(keywords.EventInitial)
			_, err := keywords.Modify(t.Context(), k, Speed, 2)
			require.NoError(t, err)
			next(keywords.EventChange)
			synctest.Wait()
			n = network.Cut()
		})
		return n
	}
	own := connections(func(t *testing.T, _ host, pool *storage.Pool) *keywords.Client { return client(t, pool) })
	shared := connections(func(t *testing.T, h host, pool *storage.Pool) *keywords.Client {
		return h.client(t, pool, keywords.ClientConfig{})
	})
	require.Equal(t, 3, own-shared, "%d with clients of its own, %d with shared ones", own, shared)
}

// Close ends what the client does, and leaves shared clients as they are.
func TestCloseLeavesSharedClientsOpen(t *testing.T) {
	t.Parallel()
	storagetest.Slow(t, func(t *testing.T, pool *storage.Pool) {
		entered := make(chan struct{})
		run(t, pool, keywords.DispatcherConfig{}, func(d *keywords.Dispatcher) {
			keywords.Serve(d, Speed, keywords.Hooks[float64]{Write: func(ctx context.Context, _ float64) error {
				close(entered)
				<-ctx.Done()
				return ctx.Err()
			}})
			keywords.Serve(d, ModeOf, keywords.Hooks[Mode]{})
		}).wait()
		h := newHost(t, pool)
		k, other := h.client(t, pool, keywords.ClientConfig{Timeout: -1}), h.client(t, pool, keywords.ClientConfig{})
		l, err := keywords.Listen(t.Context(), k, Speed, func(keywords.Event[float64]) {})
		require.NoError(t, err)
		ended := watchSpeed(t, k)
		pending := keywords.ModifyAsync(context.Background(), k, Speed, 3)
		<-entered
		require.NoError(t, k.Close())
		require.ErrorIs(t, <-ended, keywords.ErrClosed)
		<-l.Done()
		require.ErrorIs(t, l.Err(), keywords.ErrClosed)
		_, err = pending.Wait(soon(t))
		require.ErrorIs(t, err, keywords.ErrClosed)
		_, err = keywords.Modify(t.Context(), k, ModeOf, Track)
		require.ErrorIs(t, err, keywords.ErrClosed)
		require.NoError(t, k.Close())

		h.use(t)
		_, err = keywords.Modify(soon(t), other, ModeOf, Track)
		require.NoError(t, err)
	})
}

// watchSpeed watches SPEED. It returns, once the watch has begun, a channel that gets the error
// by which the watch ends.
func watchSpeed(t *testing.T, k *keywords.Client) (ended chan error) {
	ended = make(chan error, 1)
	begun := make(chan struct{})
	go func() {
		for ev, err := range keywords.Watch(t.Context(), k, Speed) {
			if err != nil {
				ended <- err
			} else if ev.Kind == keywords.EventInitial {
				close(begun)
			}
		}
	}()
	<-begun
	return ended
}

// A host may close the shared clients first: calls and watches end, and say why.
func TestSharedClientsClosedFirst(t *testing.T) {
	t.Parallel()
	storagetest.Slow(t, func(t *testing.T, pool *storage.Pool) {
		run(t, pool, keywords.DispatcherConfig{}, nil).wait()
		h := newHost(t, pool)
		k := h.client(t, pool, keywords.ClientConfig{})
		ended := watchSpeed(t, k)
		require.NoError(t, h.bc.Close())
		_, err := keywords.Modify(soon(t), k, Speed, 2)
		require.ErrorIs(t, err, keywords.ErrClosed)
		require.NoError(t, h.ps.Close())
		require.ErrorIs(t, <-ended, pubsub.ErrClosed)
		_, err = keywords.Read(soon(t), k, Speed)
		require.NoError(t, err)
	})
}

// ClientConfig.Timeout bounds a call over a shared client, and such a call is made once,
// also where that client is configured otherwise.
func TestCallsOverASharedBus(t *testing.T) {
	storagetest.Virtual(t, func(t *testing.T, pool *storage.Pool) {
		h := newHost(t, pool)
		k := h.client(t, pool, keywords.ClientConfig{Timeout: time.Second})
		begun := time.Now()
		_, err := keywords.Modify(t.Context(), k, Speed, 2)
		require.ErrorIs(t, err, keywords.ErrNoDispatcher)
		require.Less(t, time.Since(begun), 10*time.Millisecond, "virtual time")
		run(t, pool, keywords.DispatcherConfig{}, func(d *keywords.Dispatcher) {
			keywords.Serve(d, Speed, keywords.Hooks[float64]{Write: func(context.Context, float64) error {
				time.Sleep(2 * time.Second)
				return nil
			}})
		}).wait()
		begun = time.Now()
		_, err = keywords.Modify(t.Context(), k, Speed, 2)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.InDelta(t, time.Second, time.Since(begun), float64(10*time.Millisecond), "virtual time")
	})
}

// The end of a watch says why it has waited, also with a shared client.
func TestAWatchOverASharedClientSaysWhyItWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := storagetest.NewNetwork(t)
		pool := storagetest.Open(t, network.Config())
		run(t, storagetest.Open(t, network.Config()), keywords.DispatcherConfig{}, nil).wait()
		k := newHost(t, pool).client(t, pool, keywords.ClientConfig{})
		why := func() string {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			for _, err := range keywords.Watch(ctx, k, Speed) {
				if err != nil {
					require.ErrorIs(t, err, context.DeadlineExceeded)
					return err.Error()
				}
			}
			return ""
		}
		require.NotContains(t, why(), "connection refused")
		network.Down()
		require.Contains(t, why(), "connection refused")
		network.Up()
	})
}

func TestSharedClientsMustFit(t *testing.T) {
	pool, other := storagetest.New(t), storagetest.New(t)
	h := newHost(t, other)
	elsewhere, err := bus.NewClient(pool, bus.ClientConfig{Site: "elsewhere"})
	require.NoError(t, err)
	for want, cfg := range map[string]keywords.ClientConfig{
		"keywords: ClientConfig.PubSub: a client of another pool":                               {PubSub: h.ps},
		"keywords: ClientConfig.Bus: a client of another pool":                                  {Bus: h.bc},
		"keywords: ClientConfig.Bus: a client of site elsewhere, dispatchers are in site local": {Bus: elsewhere},
	} {
		_, err := keywords.NewClient(pool, cfg)
		require.EqualError(t, err, want)
	}
}
