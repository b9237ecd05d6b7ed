package server

import (
	"context"
	"fmt"
	"time"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/gateway"
	"github.com/heliograph/heliograph/storage"
)

// Type is that of the workers that gateways are, and Stats what each answers about
// itself:
//
//	for r, err := range bus.Gather(ctx, client, bus.Broadcast(server.Type), server.Stats, struct{}{}) {
const Type = "gateway"

// Stats is the method of workers of that Type.
var Stats = bus.NewMethod[struct{}, gateway.Stats]("gateway.stats").Idempotent()

// worker returns what tells of h over Redis.
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
