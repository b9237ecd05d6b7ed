package bus_test

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

func TestMiddlewareOnBothSides(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		var mu sync.Mutex
		var log []string
		note := func(s string) {
			mu.Lock()
			defer mu.Unlock()
			log = append(log, s)
		}
		around := func(name string) bus.Middleware {
			return func(next bus.Next) bus.Next {
				return func(ctx context.Context, req *bus.Request) (*bus.Response, error) {
					note(name + ">" + req.Method + strings.Join(req.Header.Keys(), ","))
					req.Header.Set(name, "1")
					resp, err := next(ctx, req)
					if err != nil {
						note(name + "!")
						return nil, err
					}
					note(name + "<" + strings.Join(resp.Header.Keys(), ","))
					if resp.Header != nil {
						resp.Header.Set("by-"+name, "1")
					}
					return resp, nil
				}
			}
		}
		reject := func(next bus.Next) bus.Next {
			return func(ctx context.Context, req *bus.Request) (*bus.Response, error) {
				if req.Header.Get("token") == "bad" {
					return nil, bus.Errorf("unauthorized", "who are you?")
				}
				return next(ctx, req)
			}
		}
		seen := bus.NewMethod[struct{}, []string]("seen")
		w := start(t, pool, bus.WorkerConfig{Middleware: []bus.Middleware{reject, around("w1"), around("w2")}}, serveUpTo, func(w *bus.Worker) {
			bus.Handle(w, seen, func(ctx context.Context, _ struct{}) ([]string, error) {
				return slices.Sorted(maps.Keys(bus.HeaderFrom(ctx))), nil
			})
		})
		c := client(t, pool, bus.ClientConfig{Middleware: []bus.Middleware{around("c1"), around("c2")}})
		header := bus.Header{"own": "1"}
		keys, err := bus.Call(t.Context(), c, bus.Group("calc"), seen, struct{}{}, bus.CallOptions{Header: header})
		require.NoError(t, err)
		require.Equal(t, []string{"c1", "c2", "own", "w1", "w2"}, keys)
		require.Equal(t, bus.Header{"own": "1"}, header, "the caller's is not changed")
		require.Equal(t, []string{
			"c1>seenown", "c2>seenc1,own", "w1>seenc1,c2,own", "w2>seenc1,c2,own,w1",
			"w2<", "w1<by-w2", "c2<by-w1,by-w2", "c1<by-c2,by-w1,by-w2",
		}, log)

		log = nil
		n := 0
		for _, err := range bus.Stream(t.Context(), c, bus.Group("calc"), UpTo, UpToArgs{3}) {
			require.NoError(t, err)
			n++
		}
		require.Equal(t, 3, n)
		require.Equal(t, []string{"c1>up_to", "c2>up_toc1", "w1>up_toc1,c2", "w2>up_toc1,c2,w1"}, log[:4])
		log = nil
		require.Equal(t, []string{w.ID()}, answers(t, c, bus.Broadcast("calc")))
		require.Equal(t, []string{"c1>name", "c2>namec1"}, log[:2])
		require.NoError(t, bus.Send(t.Context(), c, bus.Group("calc"), Name, ""))

		_, err = bus.Call(t.Context(), c, bus.Group("calc"), seen, struct{}{}, bus.CallOptions{Header: bus.Header{"token": "bad"}})
		require.ErrorIs(t, err, bus.Code("unauthorized"))
		_, err = bus.NewClient(pool, bus.ClientConfig{Middleware: []bus.Middleware{nil}})
		require.ErrorContains(t, err, "ClientConfig.Middleware[0] is nil")
	})
}

// Middleware wraps once: what its outer function declares serves all requests, of all
// methods.
func TestMiddlewareKeepsItsState(t *testing.T) {
	t.Parallel()
	storagetest.Virtual(t, func(t *testing.T, pool *storage.Pool) {
		counting := func(last *atomic.Int64, wraps *atomic.Int64) bus.Middleware {
			return func(next bus.Next) bus.Next {
				wraps.Add(1)
				var n atomic.Int64
				return func(ctx context.Context, req *bus.Request) (*bus.Response, error) {
					last.Store(n.Add(1))
					return next(context.WithoutCancel(ctx), &bus.Request{Method: req.Method, Header: req.Header, Body: req.Body})
				}
			}
		}
		var served, serveWraps, called, callWraps atomic.Int64
		start(t, pool, bus.WorkerConfig{Middleware: []bus.Middleware{counting(&served, &serveWraps)}}, serveUpTo)
		c := client(t, pool, bus.ClientConfig{Middleware: []bus.Middleware{counting(&called, &callWraps)}})
		for range 2 {
			sum, err := bus.Call(t.Context(), c, bus.Group("calc"), Add, AddArgs{1, 2})
			require.NoError(t, err)
			require.Equal(t, 3, sum)
			_, err = bus.Call(t.Context(), c, bus.Group("calc"), Name, "")
			require.NoError(t, err)
		}
		for n, err := range bus.Stream(t.Context(), c, bus.Group("calc"), UpTo, UpToArgs{2}) {
			require.NoError(t, err)
			require.Less(t, n, 2)
		}
		for _, err := range bus.Gather(t.Context(), c, bus.Broadcast("calc"), Name, "") {
			require.NoError(t, err)
		}
		require.EqualValues(t, 6, served.Load())
		require.EqualValues(t, 6, called.Load())
		require.EqualValues(t, 1, serveWraps.Load())
		require.EqualValues(t, 1, callWraps.Load())
	})
}

func TestMiddlewareMistakes(t *testing.T) {
	t.Parallel()
	storagetest.Virtual(t, func(t *testing.T, pool *storage.Pool) {
		none := []bus.Middleware{func(bus.Next) bus.Next { return nil }}
		_, err := bus.NewClient(pool, bus.ClientConfig{Middleware: none})
		require.ErrorContains(t, err, "ClientConfig.Middleware[0] returned nil")
		_, err = bus.NewWorker(pool, bus.WorkerConfig{Type: "calc", Middleware: none})
		require.ErrorContains(t, err, "WorkerConfig.Middleware[0] returned nil")

		stray := []bus.Middleware{func(next bus.Next) bus.Next {
			return func(ctx context.Context, req *bus.Request) (*bus.Response, error) {
				return next(context.Background(), req)
			}
		}}
		start(t, pool, bus.WorkerConfig{Middleware: stray})
		_, err = bus.Call(t.Context(), client(t, pool, bus.ClientConfig{}), bus.Group("calc"), Add, AddArgs{})
		require.ErrorIs(t, err, bus.CodeFailed)
		require.ErrorContains(t, err, "does not come from its own")
		_, err = bus.Call(t.Context(), client(t, pool, bus.ClientConfig{Middleware: stray}), bus.Group("calc"), Add, AddArgs{})
		require.ErrorContains(t, err, "does not come from its own")
	})
}
