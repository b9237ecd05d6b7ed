package bus_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// A worker ends with the name of the command or of the key that its user lacks, and callers never know it.
func TestAWorkerWithoutARightSaysWhich(t *testing.T) {
	t.Parallel()
	srv := storagetest.Start(t)
	admin := storagetest.Open(t, srv.Config())
	for lacks, rules := range map[string][]any{
		"blmpop":             {"~*", "+@all", "-blmpop"},
		"xadd":               {"~*", "+@all", "-xadd"},
		"zadd":               {"~*", "+@all", "-zadd"},
		"lpush":              {"~*", "+@all", "-lpush"},
		"bus:{local:calc}:*": {"~bus:{local:calc}:[^q]*", "~bus:{local:inbox*", "~bus:{local}:types", "+@all"},
		"bus:{local:inbox:*": {"~bus:{local:calc}:*", "~bus:{local}:types", "+@all"},
	} {
		user := append([]any{"acl", "setuser", "app", "reset", "on", ">secret"}, rules...)
		require.NoError(t, admin.Redis().Do(t.Context(), user...).Err())
		cfg := srv.Config()
		cfg.Redis.Username, cfg.Redis.Password = "app", "secret"
		pool := storagetest.Open(t, cfg)

		w, err := bus.NewWorker(pool, bus.WorkerConfig{Type: "calc"})
		require.NoError(t, err)
		err = w.Run(t.Context())
		require.ErrorContains(t, err, "NOPERM", lacks)
		require.ErrorContains(t, err, lacks)
		require.ErrorContains(t, err, "bus: worker "+w.ID())
		select {
		case <-w.Ready():
			t.Fatal("callers knew the worker")
		default:
		}

		w, err = bus.NewWorker(pool, bus.WorkerConfig{Type: "calc"})
		require.NoError(t, err)
		_, err = bus.Start(t.Context(), w)
		require.ErrorContains(t, err, lacks)
	}
}

// A right that is taken away later ends the worker too.
func TestAWorkerThatLosesARightEnds(t *testing.T) {
	t.Parallel()
	srv := storagetest.Start(t)
	admin := storagetest.Open(t, srv.Config())
	require.NoError(t, admin.Redis().Do(t.Context(), "acl", "setuser", "app", "on", ">secret", "~*", "+@all").Err())
	cfg := srv.Config()
	cfg.Redis.Username, cfg.Redis.Password = "app", "secret"
	w := start(t, storagetest.Open(t, cfg), bus.WorkerConfig{})
	require.NoError(t, admin.Redis().Do(t.Context(), "acl", "setuser", "app", "-blmpop").Err())
	select {
	case err := <-w.ended:
		require.ErrorContains(t, err, "blmpop")
	case <-time.After(patience):
		t.Fatal("the worker goes on without its right")
	}
}

// Every registration without a handler panics, and every destination that names no workers is refused.
func TestWhatIsMissingIsRefusedByName(t *testing.T) {
	t.Parallel()
	pool := storagetest.New(t)
	w, err := bus.NewWorker(pool, bus.WorkerConfig{Type: "calc"})
	require.NoError(t, err)
	tail := bus.NewStream[int, int]("tail")
	for want, register := range map[string]func(){
		`bus: method "add": nil handler`:  func() { bus.Handle[AddArgs, int](w, Add, nil) },
		`bus: method "*": nil handler`:    func() { bus.HandleAny(w, nil) },
		`bus: method "tail": nil handler`: func() { bus.HandleStream[int, int](w, tail, nil) },
		`bus: method "add": nil worker`: func() {
			bus.Handle(nil, Add, func(context.Context, AddArgs) (int, error) { return 0, nil })
		},
		`bus: handler for a zero Method`: func() {
			bus.Handle(w, bus.Method[int, int]{}, func(context.Context, int) (int, error) { return 0, nil })
		},
		`bus: Register: nil`:   func() { bus.Register(w, (*running)(nil)) },
		`bus: Files: nil root`: func() { bus.Files(w, nil) },
	} {
		require.PanicsWithValue(t, want, register)
	}
	_, err = bus.Start(t.Context(), nil)
	require.ErrorContains(t, err, "nil worker")

	c, ctx := client(t, pool, bus.ClientConfig{}), t.Context()
	var missing *bus.Address
	for want, to := range map[string]bus.Destination{
		"nil Destination":                      nil,
		"Address without a type":               bus.Address{},
		"Destination of type *bus.Address":     missing,
		"zero Audience: use Broadcast, Multic": bus.Audience{},
	} {
		require.ErrorContains(t, bus.Send(ctx, c, to, Add, AddArgs{}), want)
	}
	_, err = bus.Call(ctx, c, bus.Address{}, Add, AddArgs{})
	require.ErrorContains(t, err, "Address without a type")
	_, err = bus.Call(ctx, c, bus.Group("calc"), bus.Method[int, int]{}, 1)
	require.ErrorContains(t, err, "zero Method")
	for _, err := range bus.Gather(ctx, c, bus.Audience{}, Add, AddArgs{}) {
		require.ErrorContains(t, err, "zero Audience")
	}
}

func TestAClosedPoolIsNamed(t *testing.T) {
	t.Parallel()
	pool := storagetest.New(t)
	w, err := bus.NewWorker(pool, bus.WorkerConfig{Type: "calc"})
	require.NoError(t, err)
	c, err := bus.NewClient(pool, bus.ClientConfig{})
	require.NoError(t, err)
	require.NoError(t, pool.Close())
	ctx := t.Context()

	require.ErrorIs(t, w.Run(ctx), storage.ErrClosed)
	w, err = bus.NewWorker(pool, bus.WorkerConfig{Type: "calc"})
	require.NoError(t, err)
	_, err = bus.Start(ctx, w)
	require.ErrorContains(t, err, "bus: worker "+w.ID()+": storage: pool is closed")

	_, err = bus.Call(ctx, c, bus.Group("calc"), Add, AddArgs{})
	require.ErrorIs(t, err, bus.ErrClosed)
	require.ErrorContains(t, err, "bus: call add at group calc: client is closed: storage: pool is closed")
	_, err = c.Workers(ctx, "calc")
	require.ErrorIs(t, err, bus.ErrClosed)
	_, err = c.Queued(ctx, bus.Group("calc"))
	require.ErrorIs(t, err, bus.ErrClosed)
	require.ErrorIs(t, bus.Send(ctx, c, bus.Broadcast("calc"), Add, AddArgs{}), bus.ErrClosed)
	require.NoError(t, c.Close())
	_, err = c.Workers(ctx, "calc")
	require.ErrorIs(t, err, bus.ErrClosed)
}

// An error that ends a wait says why it waited.
func TestAWaitForRedisEndsWithItsCause(t *testing.T) {
	t.Parallel()
	storagetest.Outages(t, func(t *testing.T, pool *storage.Pool, down, up func()) {
		w := start(t, pool, bus.WorkerConfig{})
		c := client(t, pool, bus.ClientConfig{})
		_, err := bus.Call(t.Context(), c, bus.Group("calc"), Add, AddArgs{})
		require.NoError(t, err)
		fresh := client(t, pool, bus.ClientConfig{})
		down()
		require.Eventually(t, func() bool { return pool.Ping(t.Context()) != nil }, patience, time.Millisecond)

		tail := bus.NewStream[int, int]("tail")
		for name, wait := range map[string]func(context.Context) error{
			"call": func(ctx context.Context) error {
				_, err := bus.Call(ctx, c, bus.Group("calc"), Add, AddArgs{})
				return err
			},
			"first call": func(ctx context.Context) error {
				_, err := bus.Call(ctx, fresh, bus.Group("calc"), Add, AddArgs{})
				return err
			},
			"send": func(ctx context.Context) error { return bus.Send(ctx, c, bus.Direct(w.ID()), Add, AddArgs{}) },
			"stream": func(ctx context.Context) error {
				for _, err := range bus.Stream(ctx, c, bus.Group("calc"), tail, 1) {
					return err
				}
				return nil
			},
			"workers": func(ctx context.Context) error { _, err := c.Workers(ctx, "calc"); return err },
			"queued":  func(ctx context.Context) error { _, err := c.Queued(ctx, bus.Group("calc")); return err },
			"log":     func(ctx context.Context) error { _, err := c.Log(ctx, w.ID(), 1); return err },
			"gather": func(ctx context.Context) error {
				for _, err := range bus.Gather(ctx, c, bus.Broadcast("calc"), Add, AddArgs{}) {
					return err
				}
				return nil
			},
			"watch": func(ctx context.Context) error {
				for _, err := range c.Watch(ctx, "calc") {
					if err != nil {
						return err
					}
				}
				return nil
			},
		} {
			ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
			err := wait(ctx)
			require.ErrorIs(t, err, context.DeadlineExceeded, name)
			require.ErrorContains(t, err, "deadline exceeded (", name)
			require.ErrorContains(t, err, "connect", name)
			cancel()
		}
	})
}
