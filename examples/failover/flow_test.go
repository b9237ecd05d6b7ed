package failover_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/gateway"
	"github.com/heliograph/heliograph/keywords"
	"github.com/heliograph/heliograph/pubsub"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

func TestMain(m *testing.M) { storagetest.Main(m) }

// patience bounds what must happen soon.
const patience = 60 * time.Second

const (
	pause  = 20 * time.Millisecond // between two operations of a flow
	bound  = time.Second           // of one operation
	silent = time.Second           // a longer time without success is an interruption
	steady = 3 * time.Second       // a flow is back once it has gone on for so long
)

// flow is one primitive in use, with the times at which it succeeded.
type flow struct {
	name string

	mu     sync.Mutex
	begin  time.Time // of the successes since the last interruption
	last   time.Time // success
	why    error     // the last error
	gaps   int       // told by subscriptions
	counts int       // successes
}

func (f *flow) succeed() {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	if now.Sub(f.last) > silent {
		f.begin = now
	}
	f.last = now
	f.counts++
}

func (f *flow) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.why = err
}

func (f *flow) gap(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.why = err
	f.gaps++
}

// back returns when the last interruption ended, and whether the flow has gone on since.
func (f *flow) back() (time.Time, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	return f.begin, now.Sub(f.last) < silent && now.Sub(f.begin) > steady
}

// flows is every primitive in use, in processes of their own as far as pools are.
type flows struct {
	t    *testing.T
	ctx  context.Context
	open func() *storage.Pool
	all  []*flow
	wg   sync.WaitGroup
}

type sum struct{ A, B int }

var add = bus.NewMethod[sum, int]("add")

// start puts all primitives to use. Their keys are in all slots of a cluster.
func start(t *testing.T, cfg storage.Config) *flows {
	ctx, cancel := context.WithCancel(t.Context())
	fs := &flows{t: t, ctx: ctx, open: func() *storage.Pool { return storagetest.Open(t, cfg) }}
	server, user, other := fs.open(), fs.open(), fs.open()
	t.Cleanup(func() {
		cancel()
		fs.wg.Wait()
	})
	for i := range 4 {
		fs.calls(server, user, fmt.Sprint("calc", i))
		fs.messages(server, user, pubsub.NewTopic[int](fmt.Sprint("plain", i)))
		fs.messages(server, user, pubsub.NewTopic[int](fmt.Sprint("kept", i)).WithHistory(pubsub.History{}))
		fs.keywords(server, user, other, fmt.Sprint("stage", i))
	}
	fs.gateway(server, other)
	return fs
}

// repeat does something again and again.
func (fs *flows) repeat(name string, do func(ctx context.Context, i int) error) {
	f := &flow{name: name}
	fs.all = append(fs.all, f)
	fs.wg.Go(func() {
		for i := 0; fs.ctx.Err() == nil; i++ {
			ctx, cancel := context.WithTimeout(fs.ctx, bound)
			err := do(ctx, i)
			cancel()
			if err != nil {
				f.fail(err)
			} else {
				f.succeed()
			}
			time.Sleep(pause) // the pace of the flow
		}
	})
}

func (fs *flows) calls(server, user *storage.Pool, group string) {
	w, err := bus.NewWorker(server, bus.WorkerConfig{Type: group})
	require.NoError(fs.t, err)
	bus.Handle(w, add, func(_ context.Context, s sum) (int, error) { return s.A + s.B, nil })
	stop, err := bus.Start(fs.ctx, w)
	require.NoError(fs.t, err)
	fs.t.Cleanup(func() { _ = stop() })
	c, err := bus.NewClient(user, bus.ClientConfig{})
	require.NoError(fs.t, err)
	fs.repeat("Call", func(ctx context.Context, i int) error {
		_, err := bus.Call(ctx, c, bus.Group(group), add, sum{i, i})
		return err
	})
}

func (fs *flows) messages(server, user *storage.Pool, topic pubsub.Topic[int]) {
	from, err := pubsub.NewClient(server, pubsub.Config{})
	require.NoError(fs.t, err)
	to, err := pubsub.NewClient(user, pubsub.Config{})
	require.NoError(fs.t, err)
	name := " " + strings.TrimRight(topic.String(), "0123456789")
	sub, err := pubsub.Subscribe(fs.ctx, to, topic)
	require.NoError(fs.t, err)
	fs.repeat("Publish"+name, func(ctx context.Context, i int) error {
		_, err := pubsub.Publish(ctx, from, topic, i)
		return err
	})
	f := &flow{name: "Subscribe" + name}
	fs.all = append(fs.all, f)
	context.AfterFunc(fs.ctx, func() { _ = sub.Close() })
	fs.wg.Go(func() {
		for m := range sub.C() {
			if m.Err != nil {
				f.gap(m.Err)
			} else {
				f.succeed()
			}
		}
	})
}

func (fs *flows) keywords(server, user, other *storage.Pool, service string) {
	speed := keywords.Define(service, "SPEED", keywords.Spec[int]{})
	d, err := keywords.NewDispatcher(server, keywords.DispatcherConfig{Service: service})
	require.NoError(fs.t, err)
	keywords.Serve(d, speed, keywords.Hooks[int]{})
	stop, err := keywords.Start(fs.ctx, d)
	require.NoError(fs.t, err)
	fs.t.Cleanup(func() { _ = stop() })
	writer, err := keywords.NewClient(user, keywords.ClientConfig{})
	require.NoError(fs.t, err)
	reader, err := keywords.NewClient(other, keywords.ClientConfig{})
	require.NoError(fs.t, err)
	fs.repeat("Modify", func(ctx context.Context, i int) error {
		_, err := keywords.Modify(ctx, writer, speed, i)
		return err
	})
	f := &flow{name: "Watch"}
	fs.all = append(fs.all, f)
	fs.wg.Go(func() {
		for ev, err := range keywords.Watch(fs.ctx, reader, speed) {
			switch {
			case err != nil:
				f.fail(err)
			case ev.Kind == keywords.EventChange:
				f.succeed()
			}
		}
	})
}

func (fs *flows) gateway(server, other *storage.Pool) {
	topic := pubsub.NewTopic[int]("browser").WithCodec(storage.JSON)
	from, err := pubsub.NewClient(server, pubsub.Config{})
	require.NoError(fs.t, err)
	fs.repeat("Publish browser", func(ctx context.Context, i int) error {
		_, err := pubsub.Publish(ctx, from, topic, i)
		return err
	})
	h, err := gateway.New(other, gateway.Config{Channels: []gateway.Channel{{Pattern: "browser"}}})
	require.NoError(fs.t, err)
	srv := httptest.NewServer(h)
	conn, _, _, err := ws.Dial(fs.ctx, strings.Replace(srv.URL, "http", "ws", 1))
	require.NoError(fs.t, err)
	require.NoError(fs.t, wsutil.WriteClientText(conn, []byte("SUB browser")))
	f := &flow{name: "gateway"}
	fs.all = append(fs.all, f)
	fs.wg.Go(func() {
		defer srv.Close()
		defer h.Close()
		defer conn.Close()
		defer context.AfterFunc(fs.ctx, func() { _ = conn.Close() })()
		for {
			frame, err := wsutil.ReadServerText(conn)
			switch {
			case err != nil:
				return
			case strings.Contains(string(frame), `"browser"`) && !strings.Contains(string(frame), "gap"):
				f.succeed()
			}
		}
	})
}

// await waits until all flows go on.
func (fs *flows) await() {
	fs.t.Helper()
	var late []string
	require.Eventually(fs.t, func() bool {
		late = nil
		for _, f := range fs.all {
			if _, good := f.back(); !good {
				f.mu.Lock()
				late = append(late, fmt.Sprintf("%s: %v", f.name, f.why))
				f.mu.Unlock()
			}
		}
		return len(late) == 0
	}, patience, 50*time.Millisecond, "%v", &late)
}

// report logs for each primitive how long after the election the last of its flows was
// back.
func (fs *flows) report(fault, election time.Time) {
	worst := map[string]time.Duration{}
	gaps := map[string]int{}
	var names []string
	for _, f := range fs.all {
		if _, ok := worst[f.name]; !ok {
			names = append(names, f.name)
			worst[f.name] = -time.Second
		}
		if at, _ := f.back(); at.After(fault) {
			worst[f.name] = max(worst[f.name], at.Sub(election))
		}
		f.mu.Lock()
		gaps[f.name] += f.gaps
		f.mu.Unlock()
	}
	longest := time.Duration(0)
	line := ""
	for _, name := range names {
		longest = max(longest, worst[name])
		if worst[name] == -time.Second {
			line += fmt.Sprintf("; %s: not interrupted", name)
		} else {
			line += fmt.Sprintf("; %s: %.1f s", name, worst[name].Seconds())
		}
		if gaps[name] > 0 {
			line += fmt.Sprintf(" (%d gaps)", gaps[name])
		}
	}
	fs.t.Logf("elected after %.1f s, all back %.1f s later%s", election.Sub(fault).Seconds(), longest.Seconds(), line)
}
