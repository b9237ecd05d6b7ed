package server

import (
	"context"
	"fmt"
	"time"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/gateway"
	"github.com/heliograph/heliograph/storage"
)

// Type is the type of the workers by which gateways answer [Stats]:
//
//	for r, err := range bus.Gather(ctx, client, bus.Broadcast(server.Type), server.Stats, struct{}{}) {
const Type = "gateway"

// Stats is the method that returns a gateway's statistics.
var Stats = bus.NewMethod[struct{}, gateway.Stats]("gateway.stats").Idempotent()

// worker returns a worker that answers Stats.
func (o Options) worker(pool *storage.Pool, h *gateway.Handler) (*bus.Worker, error) {
	w, err := bus.NewWorker(pool, bus.WorkerConfig{
		Site: o.Site, Type: Type, Description: "a WebSocket gateway", Concurrency: 4, Drain: time.Second,
	})
	if err != nil {
		return nil, fmt.Errorf("-site: %w", err)
	}
	bus.Handle(w, Stats, func(context.Context, struct{}) (gateway.Stats, error) { return h.Stats(), nil })
	return w, nil
}
