package client_test

import (
	"context"
	"fmt"
	"net/http"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/bus/jobs"
	"github.com/heliograph/heliograph/gateway"
	"github.com/heliograph/heliograph/gateway/control"
	"github.com/heliograph/heliograph/keywords"
)

type operands struct {
	A int `json:"a"`
	B int `json:"b"`
}

var speed = keywords.Define("stage", "SPEED", keywords.Spec[float64]{Max: new(20.0)})

// control adds a gateway with a worker, its jobs and a dispatcher.
func (s *suite) control(mux *http.ServeMux) {
	ended := make(chan string, 1)
	w, err := bus.NewWorker(s.pool, bus.WorkerConfig{Type: "calc"})
	require.NoError(s.t, err)
	bus.Handle(w, bus.NewMethod[operands, int]("add"), func(_ context.Context, n operands) (int, error) { return n.A + n.B, nil })
	bus.Handle(w, bus.NewMethod[any, any]("hang"), func(ctx context.Context, _ any) (any, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	bus.HandleStream(w, bus.NewStream[operands, int]("count"), func(ctx context.Context, n operands, send func(int) error) error {
		for i := n.A; i < n.B; i++ {
			if err := send(i); err != nil {
				ended <- err.Error()
				return err
			}
		}
		return nil
	})
	require.NoError(s.t, jobs.Serve(w, "sums", jobs.QueueConfig{}))
	stop, err := bus.Start(s.t.Context(), w)
	require.NoError(s.t, err)
	s.t.Cleanup(func() { _ = stop() })

	d, err := keywords.NewDispatcher(s.pool, keywords.DispatcherConfig{Service: "stage"})
	require.NoError(s.t, err)
	keywords.Serve(d, speed, keywords.Hooks[float64]{})
	stopDispatcher, err := keywords.Start(s.t.Context(), d)
	require.NoError(s.t, err)
	s.t.Cleanup(func() { _ = stopDispatcher() })

	calls, err := bus.NewClient(s.pool, bus.ClientConfig{})
	require.NoError(s.t, err)
	k, err := keywords.NewClient(s.pool, keywords.ClientConfig{})
	require.NoError(s.t, err)
	q, err := jobs.NewClient(s.pool, jobs.ClientConfig{})
	require.NoError(s.t, err)
	h := s.handler(gateway.Config{
		InsecureAnyOrigin: true,
		Authenticate: func(r *http.Request) (gateway.Principal, error) {
			return gateway.Principal{Name: r.URL.Query().Get("user")}, nil
		},
		Commands: control.Commands(control.Config{Bus: calls, Keywords: k, Jobs: q, Allow: func(_ context.Context, _ *gateway.Conn, op control.Operation) bool {
			return op.Type != "private"
		}}),
	})
	mux.Handle("/control", h)
	mux.HandleFunc("POST /ended", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, <-ended) })
	mux.HandleFunc("POST /cut-control", func(http.ResponseWriter, *http.Request) {
		for _, c := range h.Conns() {
			c.Close(gateway.CloseLifetime, "as the test wants")
		}
	})
}
