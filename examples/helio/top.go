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
	"github.com/heliograph/heliograph/bus/jobs"
	"github.com/heliograph/heliograph/examples/gateway/server"
	"github.com/heliograph/heliograph/gateway"
	"github.com/heliograph/heliograph/keywords"
	"github.com/heliograph/heliograph/storage"
)

func (t *tool) topCommand() *cli.Command {
	return &cli.Command{
		Name: "top", Usage: "a live screen of workers, queues, rates, sockets and keywords that change", Category: "calls and workers",
		Description: example("q or Ctrl-C ends it, ? explains the columns. If stdout is no terminal, and with --output json, it takes two\nsamples an interval apart and prints the second.",
			"helio top", "helio top --interval 5 > snapshot.txt"),
		Flags: []cli.Flag{&secondsFlag{Name: "interval", Value: 2 * time.Second, Usage: "time between two samples"}},
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
	j, err := jobs.NewClient(pool, jobs.ClientConfig{Site: site})
	if err != nil {
		return usage("--site: %s", plainly(err))
	}
	ctx, cancel := context.WithCancel(ctx)
	m := &monitor{pool: pool, bus: c, kw: k, jobs: j, site: site, services: make(map[string]*service)}
	defer m.watches.Wait()
	defer cancel()
	if t.dress.terminal && !t.json {
		screen := t.openScreen(cancel)
		defer screen.close()
		return m.live(ctx, screen, interval)
	}
	m.sample(ctx) // rates are counted from here
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(interval):
	}
	s := m.sample(ctx)
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

// monitor takes samples of everything, and counts rates between two of them.
type monitor struct {
	pool *storage.Pool
	bus  *bus.Client
	kw   *keywords.Client
	jobs *jobs.Client
	site string

	sampled time.Time
	stats   map[string]*bus.WorkerStats // of the last sample, by worker
	sockets map[string]*gateway.Stats   // the same of gateways

	watches  sync.WaitGroup
	services map[string]*service
}

// sample is what was there at one time.
type sample struct {
	Time     time.Time        `json:"time"`
	Site     string           `json:"site"`
	Ping     float64          `json:"ping_seconds"`
	Types    []typeSample     `json:"types"`
	Gateways []gatewaySample  `json:"gateways"`
	Services []*serviceSample `json:"services"`
	Queues   []queueSample    `json:"queues"`

	err error // why Redis could not be asked
}

// typeSample is what the workers of a type do together.
type typeSample struct {
	Type    string  `json:"type"`
	Workers int     `json:"workers"`
	Silent  int     `json:"silent"` // of these, that have not answered
	Queued  int     `json:"queued"`
	Held    int     `json:"held"`
	Calls   float64 `json:"calls_per_second"`
	Errors  float64 `json:"errors_per_second"`
	P99     float64 `json:"p99_seconds"` // of the slowest method
}

// patience is how long a sample waits for workers and Redis.
const patience = time.Second

// sample takes a sample. The watches that it starts go on until ctx ends.
func (m *monitor) sample(ctx context.Context) sample {
	asking, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	now := time.Now()
	s := sample{Time: now, Site: m.site}
	if s.err = m.pool.Ping(asking); s.err != nil {
		return s
	}
	s.Ping = time.Since(now).Seconds()
	var names []string
	var gateways sync.WaitGroup // asked at the same time: one silent worker takes all of it
	gateways.Go(func() { s.Gateways = m.gateways(asking, now) })
	if s.Types, s.err = m.types(asking, now); s.err == nil {
		names, s.err = m.kw.Services(asking)
	}
	if s.err == nil {
		s.Queues, s.err = m.queues(asking)
	}
	gateways.Wait()
	s.Services = m.keywords(ctx, names, now)
	m.sampled = now
	return s
}

// types asks all workers for their stats.
func (m *monitor) types(ctx context.Context, now time.Time) ([]typeSample, error) {
	types, stats := make(map[string]*typeSample), make(map[string]*bus.WorkerStats)
	for r, err := range bus.Gather(ctx, m.bus, bus.Broadcast(""), bus.Stats, struct{}{}) {
		if err != nil && r.From.ID == "" {
			return nil, err
		}
		t := types[r.From.Type]
		if t == nil {
			t = &typeSample{Type: r.From.Type}
			types[r.From.Type] = t
		}
		t.Workers++
		if err != nil {
			t.Silent++
			continue
		}
		stats[r.From.ID] = &r.Value
		t.add(r.Value, m.stats[r.From.ID], now.Sub(m.sampled).Seconds())
	}
	m.stats = stats
	all := make([]typeSample, 0, len(types))
	for _, name := range slices.Sorted(maps.Keys(types)) {
		n, err := m.bus.Queued(ctx, bus.Group(name))
		if err != nil {
			return nil, err
		}
		types[name].Queued = n
		all = append(all, *types[name])
	}
	return all, nil
}

// queueSample is how many jobs a queue has.
type queueSample struct {
	Queue string `json:"queue"`
	jobs.Counts
}

func (m *monitor) queues(ctx context.Context) ([]queueSample, error) {
	names, err := m.jobs.Queues(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]queueSample, len(names))
	for i, name := range names {
		n, err := m.jobs.Counts(ctx, name)
		if err != nil {
			return nil, err
		}
		list[i] = queueSample{name, n}
	}
	return list, nil
}

// gatewaySample is what a gateway does. Sockets and Channels are counts of now, rates
// are per second, and the rest are totals since it started.
type gatewaySample struct {
	Worker   string  `json:"worker"`
	Sockets  int     `json:"sockets"`
	Channels int     `json:"channels"`       // with followers
	In       float64 `json:"in_per_second"`  // messages from clients
	Out      float64 `json:"out_per_second"` // publications to clients, each counted
	Slow     int64   `json:"slow"`           // clients closed because they were too slow
	Dropped  int64   `json:"dropped"`        // publications dropped for slow clients
}

// gateways asks all gateways for their stats. One that does not answer is counted
// among the silent workers.
func (m *monitor) gateways(ctx context.Context, now time.Time) []gatewaySample {
	all, stats := []gatewaySample{}, make(map[string]*gateway.Stats)
	for r, err := range bus.Gather(ctx, m.bus, bus.Broadcast(server.Type), server.Stats, struct{}{}) {
		if err != nil {
			continue
		}
		g := gatewaySample{
			Worker: r.From.ID, Sockets: r.Value.Connections, Channels: r.Value.Channels,
			Slow: r.Value.Slow, Dropped: r.Value.Dropped + r.Value.Overflowed,
		}
		if before := m.sockets[r.From.ID]; before != nil {
			seconds := now.Sub(m.sampled).Seconds()
			g.In = float64(r.Value.Messages-before.Messages) / seconds
			g.Out = float64(r.Value.Delivered-before.Delivered) / seconds
		}
		all, stats[r.From.ID] = append(all, g), &r.Value
	}
	m.sockets = stats
	slices.SortFunc(all, func(a, b gatewaySample) int { return strings.Compare(a.Worker, b.Worker) })
	return all
}

// add adds what a worker has done in some seconds. It sums the methods and not the
// worker's total, which counts the calls of this program too.
func (t *typeSample) add(now bus.WorkerStats, before *bus.WorkerStats, seconds float64) {
	t.Held += now.Held
	for _, method := range now.Methods {
		t.P99 = max(t.P99, method.Time.Quantile(0.99).Seconds())
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
			continue // of this program too
		}
		calls += m.Calls
		for _, n := range m.Errors {
			failed += n
		}
	}
	return calls, failed
}

// service is a watch of the keywords of a service.
type service struct {
	mu      sync.Mutex
	changes int
	last    string // the keyword that changed last
	value   string
	stale   bool
	ended   bool
}

// serviceSample is what the keywords of a service do.
type serviceSample struct {
	Service string  `json:"service"`
	Changes float64 `json:"changes_per_second"`
	Last    string  `json:"last,omitempty"` // the keyword that changed last
	Value   string  `json:"value,omitempty"`
	Stale   bool    `json:"stale"` // no dispatcher
}

// keywords counts the changes since the last sample, and starts to watch the
// services that are new.
func (m *monitor) keywords(ctx context.Context, names []string, now time.Time) []*serviceSample {
	saw := make([]*serviceSample, 0, len(names))
	for _, name := range names {
		s := m.services[name]
		if s == nil {
			s = new(service)
			m.services[name] = s
			m.watches.Go(func() { s.watch(ctx, m.kw, name) })
		}
		s.mu.Lock()
		saw = append(saw, &serviceSample{name, float64(s.changes) / now.Sub(m.sampled).Seconds(), s.last, s.value, s.stale})
		s.changes = 0
		if s.ended {
			delete(m.services, name)
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
			s.ended = true // the next sample starts it again if the service exists
		case ev.Kind == keywords.EventChange || ev.Kind == keywords.EventResync:
			s.changes++
			s.last, s.value, s.stale = ev.Keyword, plain(oneLine(ev.Value.V)), false
		default:
			s.stale = ev.Kind == keywords.EventStale || ev.Value.Quality != keywords.QualityGood
		}
		s.mu.Unlock()
	}
}
