package bus_test

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
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
