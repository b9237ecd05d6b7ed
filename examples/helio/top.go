package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/examples/gateway/server"
	"github.com/heliograph/heliograph/gateway"
	"github.com/heliograph/heliograph/keywords"
	"github.com/heliograph/heliograph/storage"
)

func (t *tool) topCommand() *cli.Command {
	return &cli.Command{
		Name: "top", Usage: "a live screen of workers, queues, rates, sockets and keywords that change", Category: "calls and workers",
		Description: example("Ends with Ctrl-C. Where stdout is no terminal, and with --output json, it looks twice and prints once.",
			"helio top", "helio top --interval 5 > snapshot.txt"),
		Flags: []cli.Flag{&secondsFlag{Name: "interval", Value: 2 * time.Second, Usage: "between two looks"}},
		Action: func(ctx context.Context, cmd *cli.Command) error {
			if _, err := arguments(cmd); err != nil {
				return err
			}
			site, err := t.site(cmd)
			if err != nil {
				return err
			}
			return t.with(ctx, cmd, func(pool *storage.Pool) error { return t.top(ctx, pool, site, cmd.Duration("interval")) })
		},
	}
}

func (t *tool) top(ctx context.Context, pool *storage.Pool, site string, interval time.Duration) error {
	c, err := bus.NewClient(pool, bus.ClientConfig{Site: site})
	if err != nil {
		return usage("--site: %s", plainly(err))
	}
	k, err := keywords.NewClient(pool, keywords.ClientConfig{})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	w := &watchtower{pool: pool, bus: c, kw: k, site: site, services: make(map[string]*service)}
	defer w.watches.Wait()
	defer cancel()
	if t.dress.terminal && !t.json {
		screen := t.openScreen()
		defer screen.close()
		return w.live(ctx, screen, interval)
	}
	w.look(ctx) // rates are counted from here
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(interval):
	}
	s := w.look(ctx)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case s.err != nil:
		return s.err
	case t.json:
		return t.emit(s)
	}
	for _, l := range s.lines() {
		if _, err := fmt.Fprintln(t.out, l.text); err != nil {
			return err
		}
	}
	return nil
}

// watchtower looks at everything, again and again.
type watchtower struct {
	pool *storage.Pool
	bus  *bus.Client
	kw   *keywords.Client
	site string

	looked  time.Time
	stats   map[string]*bus.WorkerStats // at the last look, by worker
	sockets map[string]*gateway.Stats   // the same of gateways

	watches  sync.WaitGroup
	services map[string]*service
}

// sight is what is seen at one look.
type sight struct {
	Time     time.Time      `json:"time"`
	Site     string         `json:"site"`
	Ping     float64        `json:"ping_seconds"`
	Types    []typeSight    `json:"types"`
	Gateways []gatewaySight `json:"gateways"`
	Services []*sawService  `json:"services"`

	err error // Redis does not tell
}

// typeSight is what the workers of a type do together.
type typeSight struct {
	Type    string  `json:"type"`
	Workers int     `json:"workers"`
	Silent  int     `json:"silent"` // of these, that have not answered
	Queued  int     `json:"queued"`
	Held    int     `json:"held"`
	Calls   float64 `json:"calls_per_second"`
	Errors  float64 `json:"errors_per_second"`
	P99     float64 `json:"p99_seconds"` // of the slowest method
}

// patience is how long a look waits for workers and Redis.
const patience = time.Second

// look looks. The watches that it begins go on until ctx ends.
func (w *watchtower) look(ctx context.Context) sight {
	asking, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	now := time.Now()
	s := sight{Time: now, Site: w.site}
	if s.err = w.pool.Ping(asking); s.err != nil {
		return s
	}
	s.Ping = time.Since(now).Seconds()
	var names []string
	var gateways sync.WaitGroup // asked at the same time: somebody silent takes all of it
	gateways.Go(func() { s.Gateways = w.gateways(asking, now) })
	if s.Types, s.err = w.types(asking, now); s.err == nil {
		names, s.err = w.kw.Services(asking)
	}
	gateways.Wait()
	s.Services = w.keywords(ctx, names, now)
	w.looked = now
	return s
}

// types asks all workers what they have done.
func (w *watchtower) types(ctx context.Context, now time.Time) ([]typeSight, error) {
	types, stats := make(map[string]*typeSight), make(map[string]*bus.WorkerStats)
	for r, err := range bus.Gather(ctx, w.bus, bus.Broadcast(""), bus.Stats, struct{}{}) {
		if err != nil && r.From.ID == "" {
			return nil, err
		}
		t := types[r.From.Type]
		if t == nil {
			t = &typeSight{Type: r.From.Type}
			types[r.From.Type] = t
		}
		t.Workers++
		if err != nil {
			t.Silent++
			continue
		}
		stats[r.From.ID] = &r.Value
		t.add(r.Value, w.stats[r.From.ID], now.Sub(w.looked).Seconds())
	}
	w.stats = stats
	all := make([]typeSight, 0, len(types))
	for _, name := range slices.Sorted(maps.Keys(types)) {
		n, err := w.bus.Queued(ctx, bus.Group(name))
		if err != nil {
			return nil, err
		}
		types[name].Queued = n
		all = append(all, *types[name])
	}
	return all, nil
}

// gatewaySight is what a gateway does: totals since it began, but for what is said
// to be per second, and the first two, which are now.
type gatewaySight struct {
	Worker   string  `json:"worker"`
	Sockets  int     `json:"sockets"`
	Channels int     `json:"channels"`       // that somebody follows
	In       float64 `json:"in_per_second"`  // messages from clients
	Out      float64 `json:"out_per_second"` // publications to clients, each counted
	Slow     int64   `json:"slow"`           // clients that were too slow, and are gone
	Dropped  int64   `json:"dropped"`        // publications that did not fit
}

// gateways asks all gateways what they have done. Who does not answer is a silent
// worker, and counted there.
func (w *watchtower) gateways(ctx context.Context, now time.Time) []gatewaySight {
	all, stats := []gatewaySight{}, make(map[string]*gateway.Stats)
	for r, err := range bus.Gather(ctx, w.bus, bus.Broadcast(server.Type), server.Stats, struct{}{}) {
		if err != nil {
			continue
		}
		g := gatewaySight{
			Worker: r.From.ID, Sockets: r.Value.Connections, Channels: r.Value.Channels,
			Slow: r.Value.Slow, Dropped: r.Value.Dropped + r.Value.Overflowed,
		}
		if before := w.sockets[r.From.ID]; before != nil {
			seconds := now.Sub(w.looked).Seconds()
			g.In = float64(r.Value.Messages-before.Messages) / seconds
			g.Out = float64(r.Value.Delivered-before.Delivered) / seconds
		}
		all, stats[r.From.ID] = append(all, g), &r.Value
	}
	w.sockets = stats
	slices.SortFunc(all, func(a, b gatewaySight) int { return strings.Compare(a.Worker, b.Worker) })
	return all
}

// add adds what a worker has done in some seconds. The methods are counted, and
// not the calls of all: our own question is one of those.
func (t *typeSight) add(now bus.WorkerStats, before *bus.WorkerStats, seconds float64) {
	t.Held += now.Held
	for _, m := range now.Methods {
		t.P99 = max(t.P99, m.P99.Seconds())
	}
	if before != nil {
		calls, failed := counts(now)
		callsBefore, failedBefore := counts(*before)
		t.Calls += float64(calls-callsBefore) / seconds
		t.Errors += float64(failed-failedBefore) / seconds
	}
}

func counts(s bus.WorkerStats) (calls, failed int64) {
	for _, m := range s.Methods {
		if m.Name == server.Stats.Name() {
			continue // our own question too
		}
		calls += m.Calls
		for _, n := range m.Errors {
			failed += n
		}
	}
	return calls, failed
}

// service is a watch over the keywords of a service.
type service struct {
	mu      sync.Mutex
	changes int
	last    string // that has changed
	value   string
	stale   bool
	ended   bool
}

// sawService is what the keywords of a service do.
type sawService struct {
	Service string  `json:"service"`
	Changes float64 `json:"changes_per_second"`
	Last    string  `json:"last,omitempty"` // keyword that has changed
	Value   string  `json:"value,omitempty"`
	Stale   bool    `json:"stale"` // no dispatcher
}

// keywords counts what has changed since the last look, and watches the services
// that are new.
func (w *watchtower) keywords(ctx context.Context, names []string, now time.Time) []*sawService {
	saw := make([]*sawService, 0, len(names))
	for _, name := range names {
		s := w.services[name]
		if s == nil {
			s = new(service)
			w.services[name] = s
			w.watches.Go(func() { s.watch(ctx, w.kw, name) })
		}
		s.mu.Lock()
		saw = append(saw, &sawService{name, float64(s.changes) / now.Sub(w.looked).Seconds(), s.last, s.value, s.stale})
		s.changes = 0
		if s.ended {
			delete(w.services, name)
		}
		s.mu.Unlock()
	}
	return saw
}

func (s *service) watch(ctx context.Context, k *keywords.Client, name string) {
	for ev, err := range keywords.WatchText(ctx, k, name, "*") {
		s.mu.Lock()
		switch {
		case err != nil:
			s.ended = true // and is begun anew if there is such a service
		case ev.Kind == keywords.EventChange || ev.Kind == keywords.EventResync:
			s.changes++
			s.last, s.value, s.stale = ev.Keyword, plain(oneLine(ev.Value.V)), false
		default:
			s.stale = ev.Kind == keywords.EventStale || ev.Value.Quality != keywords.QualityGood
		}
		s.mu.Unlock()
	}
}
