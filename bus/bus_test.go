package bus_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

func TestMain(m *testing.M) { storagetest.Main(m) }

// patience bounds what must happen soon.
const patience = 20 * time.Second

type AddArgs struct {
	A int `json:"a"`
	B int `json:"b"`
}

var (
	Add  = bus.NewMethod[AddArgs, int]("add")
	Name = bus.NewMethod[string, string]("name") // of the worker
)

// running is a worker that runs.
type running struct {
	*bus.Worker
	t     testing.TB
	stop  context.CancelFunc
	ended chan error
}

// start runs a worker until the test ends, with the methods add and name and
// those that register adds.
func start(t testing.TB, pool *storage.Pool, cfg bus.WorkerConfig, register ...func(*bus.Worker)) *running {
	t.Helper()
	if cfg.Type == "" {
		cfg.Type = "calc"
	}
	w, err := bus.NewWorker(pool, cfg)
	require.NoError(t, err)
	bus.Handle(w, Add, func(_ context.Context, a AddArgs) (int, error) { return a.A + a.B, nil })
	bus.Handle(w, Name, func(context.Context, string) (string, error) { return w.ID(), nil })
	for _, r := range register {
		r(w)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{Worker: w, t: t, stop: cancel, ended: make(chan error, 1)}
	go func() {
		r.ended <- w.Run(ctx)
		close(r.ended)
	}()
	t.Cleanup(func() {
		cancel()
		<-r.ended
	})
	select {
	case <-w.Ready():
	case <-time.After(patience):
		t.Fatal("the worker is not ready")
	}
	return r
}

// end stops the worker and returns what Run returned.
func (r *running) end() error {
	r.stop()
	select {
	case err := <-r.ended:
		return err
	case <-time.After(patience):
		r.t.Fatal("the worker does not stop")
		return nil
	}
}

func client(t testing.TB, pool *storage.Pool, cfg bus.ClientConfig) *bus.Client {
	t.Helper()
	c, err := bus.NewClient(pool, cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

// keysOf returns all keys in the database.
func keysOf(t testing.TB, pool *storage.Pool) []string {
	t.Helper()
	keys, err := pool.Redis().Keys(context.Background(), "*").Result()
	require.NoError(t, err)
	return keys
}

// gate holds handlers until it is opened.
type gate struct {
	entered chan struct{}
	open    chan struct{}
}

func newGate() *gate { return &gate{make(chan struct{}, 100_000), make(chan struct{})} }

// pass waits for the gate, or the end of ctx.
func (g *gate) pass(ctx context.Context) error {
	g.entered <- struct{}{}
	select {
	case <-g.open:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// keysLike returns the keys that hold any of some texts.
func keysLike(t testing.TB, pool *storage.Pool, texts ...string) (like []string) {
	for _, key := range keysOf(t, pool) {
		for _, text := range texts {
			if strings.Contains(key, text) {
				like = append(like, key)
			}
		}
	}
	return like
}
