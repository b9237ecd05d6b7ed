package control_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/bus/jobs"
	"github.com/heliograph/heliograph/gateway"
	"github.com/heliograph/heliograph/gateway/control"
	"github.com/heliograph/heliograph/keywords"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

type axisMode int32

type numbers struct {
	A int `json:"a"`
	B int `json:"b"`
}

var (
	add   = bus.NewMethod[numbers, int]("add")
	shy   = bus.NewMethod[struct{}, struct{}]("shy")
	hang  = bus.NewMethod[struct{}, struct{}]("hang")
	count = bus.NewStream[numbers, int]("count")

	speed  = keywords.Define("stage", "SPEED", keywords.Spec[float64]{Max: new(20.0)})
	mode   = keywords.Define("stage", "MODE", keywords.Spec[axisMode]{Enumerators: []string{"Idle", "Slew"}})
	target = keywords.Define("stage", "TARGET", keywords.Spec[[]float64]{})
	secret = keywords.Define("stage", "SECRET", keywords.Spec[string]{})
)

// site is a gateway with a worker and a dispatcher.
type site struct {
	t       *testing.T
	pool    *storage.Pool
	url     string
	handler *gateway.Handler
	banned  atomic.Bool // no client may read any more

	begun chan bool  // hang was called
	ended chan error // of the contexts of hang, and of count when its items are not wanted

	mu  sync.Mutex
	ops []control.Operation // that Allow was asked for
}

func newSite(t *testing.T, pool *storage.Pool) *site {
	s := &site{t: t, pool: pool, begun: make(chan bool, 16), ended: make(chan error, 16)}
	w, err := bus.NewWorker(pool, bus.WorkerConfig{Type: "calc"})
	require.NoError(t, err)
	bus.Handle(w, add, func(_ context.Context, n numbers) (int, error) { return n.A + n.B, nil })
	bus.Handle(w, shy, func(context.Context, struct{}) (struct{}, error) { return struct{}{}, bus.Errorf("shy", "not today") })
	bus.Handle(w, hang, func(ctx context.Context, _ struct{}) (struct{}, error) {
		s.begun <- true
		<-ctx.Done()
		s.ended <- ctx.Err()
		return struct{}{}, ctx.Err()
	})
	bus.HandleStream(w, count, func(ctx context.Context, n numbers, send func(int) error) error {
		for i := n.A; i < n.B; i++ {
			if err := send(i); err != nil {
				s.ended <- err
				return err
			}
		}
		return nil
	})
	require.NoError(t, jobs.Serve(w, "sums", jobs.QueueConfig{}))
	stop, err := bus.Start(t.Context(), w)
	require.NoError(t, err)
	t.Cleanup(func() { _ = stop() })

	d, err := keywords.NewDispatcher(pool, keywords.DispatcherConfig{Service: "stage"})
	require.NoError(t, err)
	keywords.Serve(d, speed, keywords.Hooks[float64]{})
	keywords.Serve(d, mode, keywords.Hooks[axisMode]{})
	keywords.Serve(d, target, keywords.Hooks[[]float64]{})
	keywords.Serve(d, secret, keywords.Hooks[string]{})
	stopDispatcher, err := keywords.Start(t.Context(), d)
	require.NoError(t, err)
	t.Cleanup(func() { _ = stopDispatcher() })

	calls, err := bus.NewClient(pool, bus.ClientConfig{})
	require.NoError(t, err)
	k, err := keywords.NewClient(pool, keywords.ClientConfig{})
	require.NoError(t, err)
	q, err := jobs.NewClient(pool, jobs.ClientConfig{})
	require.NoError(t, err)
	h, err := gateway.New(pool, gateway.Config{
		Authenticate: func(r *http.Request) (gateway.Principal, error) {
			return gateway.Principal{Name: r.URL.Query().Get("user")}, nil
		},
		Commands: control.Commands(control.Config{Bus: calls, Keywords: k, Jobs: q, Allow: s.allow, Timeout: 5 * time.Second}),
	})
	require.NoError(t, err)
	s.handler = h
	srv := httptest.NewServer(h)
	s.url = srv.URL
	t.Cleanup(func() {
		_ = h.Close()
		srv.Close()
	})
	return s
}

// allow lets clients do everything with calc, sums and stage, save that none reads
// SECRET, and only ada sets.
func (s *site) allow(_ context.Context, c *gateway.Conn, op control.Operation) bool {
	s.mu.Lock()
	s.ops = append(s.ops, op)
	s.mu.Unlock()
	switch op.Kind {
	case control.Set:
		return c.Principal().Name == "ada" && op.Service == "stage"
	case control.Read:
		return !s.banned.Load() && op.Service == "stage" && op.Keyword != "SECRET"
	case control.Describe:
		return op.Service == "stage"
	case control.Submit, control.Job:
		return op.Queue == "sums"
	}
	return op.Type == "calc" || op.Type == "gone"
}

// page is a browser that speaks the JSON protocol.
type page struct {
	t    *testing.T
	conn *websocket.Conn
	id   int
}

func (s *site) open(user string) *page {
	conn, _, err := websocket.Dial(s.t.Context(), s.url+"?user="+user, &websocket.DialOptions{Subprotocols: []string{"heliograph.json.v1"}})
	require.NoError(s.t, err)
	s.t.Cleanup(func() { _ = conn.CloseNow() })
	p := &page{t: s.t, conn: conn}
	p.frame() // open
	return p
}

type frame struct {
	Type    string          `json:"type"`
	ID      int             `json:"id"`
	Content json.RawMessage `json:"content"`
	Code    string          `json:"code"`
	Message string          `json:"message"`
}

func (p *page) frame() (f frame) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), 20*time.Second)
	defer cancel()
	_, data, err := p.conn.Read(ctx)
	require.NoError(p.t, err)
	require.NoError(p.t, json.Unmarshal(data, &f))
	return f
}

// send sends a command and returns its id. Arguments that contain "=" are options.
func (p *page) send(command string, args ...any) int {
	p.t.Helper()
	p.id++
	options := map[string]string{}
	list := []any{}
	for _, arg := range args {
		if text, ok := arg.(string); ok && !strings.ContainsAny(text, "${ ") {
			if name, value, ok := strings.Cut(text, "="); ok {
				options[name] = value
				continue
			}
		}
		list = append(list, arg)
	}
	data, err := json.Marshal(map[string]any{"id": p.id, "command": command, "args": list, "options": options})
	require.NoError(p.t, err)
	require.NoError(p.t, p.conn.Write(p.t.Context(), websocket.MessageText, data))
	return p.id
}

// does sends a command and returns its values, or its code if it fails.
func (p *page) does(command string, args ...any) (values []string, code string) {
	p.t.Helper()
	id := p.send(command, args...)
	for {
		f := p.frame()
		require.Equal(p.t, id, f.ID)
		switch f.Type {
		case "value":
			values = append(values, string(f.Content))
		case "done":
			return values, ""
		case "error":
			return values, f.Code
		}
	}
}

func TestCalls(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		s := newSite(t, pool)
		p := s.open("ada")
		for _, row := range []struct {
			command string
			args    []any
			want    []string
			code    string
		}{
			{"CALL", []any{"calc", "add", `{"a": 1, "b": 2}`}, []string{"3"}, ""},
			{"CALL", []any{"calc", "add"}, []string{"0"}, ""},
			{"CALL", []any{"calc", "add", "no json"}, nil, "bad_arguments"},
			{"CALL", []any{"calc", "add", `{"a": "x"}`}, nil, "bad_arguments"},
			{"CALL", []any{"calc", "shy"}, nil, "shy"},
			{"CALL", []any{"calc", "none"}, nil, "unknown_method"},
			{"CALL", []any{"gone", "add"}, nil, "no_workers"},
			{"CALL", []any{"private", "add"}, nil, "forbidden"},
			{"CALL", []any{"calc", "add", "{}", "worker=private:host:1:x"}, nil, "forbidden"},
			{"CALL", []any{"calc", "add", "{}", "worker=calc:host:1:x"}, nil, "no_workers"},
			{"CALL", []any{"calc", "add", "{}", "timeout=soon"}, nil, "bad_command"},
			{"CALL", []any{"calc", "hang", "{}", "timeout=20"}, nil, "timeout"},
			{"STREAM", []any{"calc", "count", `{"a": 3, "b": 6}`}, []string{"3", "4", "5"}, ""},
			{"STREAM", []any{"calc", "add"}, nil, "unknown_method"},
			{"WORKERS", []any{"private"}, nil, "forbidden"},
		} {
			values, code := p.does(row.command, row.args...)
			require.Equal(t, row.code, code, "%s %v", row.command, row.args)
			require.Equal(t, row.want, values, "%s %v", row.command, row.args)
		}
		workers, code := p.does("WORKERS", "calc")
		require.Empty(t, code)
		var info bus.WorkerInfo
		require.NoError(t, json.Unmarshal([]byte(workers[0]), &info))
		values, code := p.does("CALL", "calc", "add", `{"a": 4, "b": 2}`, "worker="+info.ID)
		require.Equal(t, []string{"6"}, values, code)
	})
}

// What a client gives up, and what a client that is gone had begun, ends at the worker.
func TestWhatIsGivenUpEnds(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		s := newSite(t, pool)
		p := s.open("ada")
		slow := p.send("CALL", "calc", "hang")
		endless := p.send("STREAM", "calc", "count", fmt.Sprintf(`{"b": %d}`, math.MaxInt32))
		for f := p.frame(); f.ID != endless; f = p.frame() {
			require.NotEqual(t, "error", f.Type, f.Message)
		}
		<-s.begun
		p.send("CANCEL", endless)
		p.send("CANCEL", slow)
		codes := map[int]string{}
		for len(codes) < 2 {
			if f := p.frame(); f.Type == "error" {
				codes[f.ID] = f.Code
			}
		}
		require.Equal(t, map[int]string{slow: "cancelled", endless: "cancelled"}, codes)
		for range 2 {
			require.Error(t, <-s.ended)
		}

		p = s.open("bob")
		endless = p.send("STREAM", "calc", "count", fmt.Sprintf(`{"b": %d}`, math.MaxInt32))
		require.Equal(t, endless, p.frame().ID)
		require.NoError(t, p.conn.CloseNow())
		require.Error(t, <-s.ended)
	})
}

func TestKeywords(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		s := newSite(t, pool)
		ada, bob := s.open("ada"), s.open("bob")
		set := func(p *page, args ...any) (revision, code string) {
			values, code := p.does("SET", args...)
			if code != "" {
				return "", code
			}
			var v struct{ Revision string }
			require.NoError(t, json.Unmarshal([]byte(values[0]), &v))
			return v.Revision, ""
		}
		rev, code := set(ada, "stage.SPEED", 3.5)
		require.Empty(t, code)
		for _, row := range []struct {
			p    *page
			args []any
			code string
		}{
			{bob, []any{"stage.SPEED", 4}, "forbidden"},
			{ada, []any{"stage.SPEED", 21}, "range"},
			{ada, []any{"stage.SPEED", "fast"}, "malformed"},
			{ada, []any{"stage.MODE", "Fly"}, "enumerator"},
			{ada, []any{"stage.NONE", 1}, "unknown_keyword"},
			{ada, []any{"stage.SPEED", 4, "if=1:1"}, "revision"},
			{ada, []any{"stage.SPEED", 4, "if=x"}, "bad_command"},
			{ada, []any{"SPEED", 4}, "bad_name"},
			{ada, []any{"stage.SPEED", 4, "if=" + rev}, ""},
			{ada, []any{"stage.TARGET", []float64{1, 2.5}}, ""},
			{ada, []any{"stage.mode", "slew"}, ""},
		} {
			_, code := set(row.p, row.args...)
			require.Equal(t, row.code, code, "%v", row.args)
		}

		read := func(name string) (v keywords.Value[any], code string) {
			values, code := bob.does("READ", name)
			if code == "" {
				require.NoError(t, json.Unmarshal([]byte(values[0]), &v))
			}
			return v, code
		}
		v, code := read("stage.SPEED")
		require.Empty(t, code)
		require.Equal(t, 4.0, v.V)
		require.True(t, strings.HasPrefix(v.Source, "ada@") && strings.HasSuffix(v.Source, "/gateway"), v.Source)
		v, _ = read("stage.TARGET")
		require.Equal(t, []any{1.0, 2.5}, v.V)
		v, _ = read("stage.MODE")
		require.Equal(t, "Slew", v.V)
		_, code = read("stage.SECRET")
		require.Equal(t, "forbidden", code)
		_, code = read("other.SPEED")
		require.Equal(t, "forbidden", code)

		services, code := bob.does("SERVICES")
		require.Equal(t, []string{`"stage"`}, services, code)
		defs, code := bob.does("DESCRIBE", "stage")
		require.Empty(t, code)
		require.Len(t, defs, 4)
		_, code = bob.does("DESCRIBE", "other")
		require.Equal(t, "forbidden", code)
	})
}

func TestWatchAndWait(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		s := newSite(t, pool)
		ada, bob := s.open("ada"), s.open("bob")
		set := func(name string, value any) {
			_, code := ada.does("SET", name, value)
			require.Empty(t, code)
		}
		set("stage.SPEED", 1)
		set("stage.SECRET", "x")
		watch := bob.send("WATCH", "stage")
		event := func(id int) (ev keywords.Event[any]) {
			t.Helper()
			f := bob.frame()
			require.Equal(t, id, f.ID, f.Message)
			require.Equal(t, "value", f.Type, f.Message)
			require.NoError(t, json.Unmarshal(f.Content, &ev))
			return ev
		}
		ev := event(watch)
		require.Equal(t, keywords.EventInitial, ev.Kind)
		require.Equal(t, "SPEED", ev.Keyword)
		require.Equal(t, 1.0, ev.Value.V)
		set("stage.SECRET", "y")
		set("stage.MODE", "Slew")
		ev = event(watch)
		require.Equal(t, "MODE", ev.Keyword)
		require.Equal(t, "Slew", ev.Value.V)
		cancel := bob.send("CANCEL", watch)
		ids := []int{bob.frame().ID, bob.frame().ID}
		slices.Sort(ids)
		require.Equal(t, []int{watch, cancel}, ids)

		one := bob.send("WATCH", "stage.SPEED")
		require.Equal(t, 1.0, event(one).Value.V)
		wait := bob.send("WAIT", "$stage.SPEED > 5 and ${stage.MODE} == Slew")
		set("stage.SPEED", 6)
		for range 2 { // in any order
			switch f := bob.frame(); f.ID {
			case one:
				require.Contains(t, string(f.Content), `"value":6`)
			case wait:
				require.Equal(t, "done", f.Type, f.Message)
			default:
				require.Fail(t, "unexpected", "%+v", f)
			}
		}
		bob.cancel(one)
		for expression, want := range map[string]string{
			"$stage.SECRET == x":       "forbidden",
			"$other.SPEED == 1":        "forbidden",
			"$SPEED == 1":              "bad_command",
			"$stage.SPEED ==":          "expression",
			"$stage.SPEED > fast":      "expression",
			"'${stage.SECRET}' == 'x'": "forbidden",
			"${stage.SECRET":           "forbidden",
		} {
			_, code := bob.does("WAIT", expression)
			require.Equal(t, want, code, expression)
		}
		_, code := bob.does("WAIT", "$stage.SPEED > 19", "timeout=20")
		require.Equal(t, "timeout", code)
		for _, name := range []string{"stage.SECRET", "other", "stage.NONE"} {
			_, code := bob.does("WATCH", name)
			require.Equal(t, "forbidden", code, name)
		}
	})
}

// cancel cancels a command and takes both answers.
func (p *page) cancel(id int) {
	p.t.Helper()
	p.send("CANCEL", id)
	p.frame()
	p.frame()
}

func TestJobs(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		s := newSite(t, pool)
		p := s.open("ada")
		values, code := p.does("SUBMIT", "sums", "add", `{"a": 1}`, "delay=3600000", "id=mine")
		require.Empty(t, code)
		var id string
		require.NoError(t, json.Unmarshal([]byte(values[0]), &id))
		again, _ := p.does("SUBMIT", "sums", "add", `{"a": 1}`, "delay=3600000", "id=mine")
		require.Equal(t, values, again, "a repeated id is the same job")
		values, code = p.does("JOB", id)
		require.Empty(t, code)
		var info jobs.Info
		require.NoError(t, json.Unmarshal([]byte(values[0]), &info))
		require.Equal(t, jobs.StateScheduled, info.State)
		for _, row := range []struct {
			args []any
			code string
		}{
			{[]any{"SUBMIT", "private", "add"}, "forbidden"},
			{[]any{"SUBMIT", "sums", "add", "no json"}, "bad_arguments"},
			{[]any{"SUBMIT", "sums", "add", "{}", "delay=-1"}, "bad_command"},
			{[]any{"SUBMIT", "sums", strings.Repeat("x", 3000)}, "bad_arguments"},
			{[]any{"JOB", "sums:none"}, "not_found"},
			{[]any{"JOB", "private:none"}, "forbidden"},
		} {
			_, code := p.does(row.args[0].(string), row.args[1:]...)
			require.Equal(t, row.code, code, "%v", row.args)
		}
	})
}

// A watch that a client may not begin any more ends.
func TestAnotherPrincipalEndsAWatch(t *testing.T) {
	t.Parallel()
	s := newSite(t, storagetest.New(t))
	ada, eve := s.open("ada"), s.open("ada")
	watch := eve.send("WATCH", "stage.SPEED")
	set := func() {
		_, code := ada.does("SET", "stage.SPEED", 1)
		require.Empty(t, code)
	}
	set()
	require.Equal(t, watch, eve.frame().ID)
	for _, c := range s.handler.Conns() {
		c.SetPrincipal(t.Context(), gateway.Principal{Name: "ada", Expires: time.Now().Add(time.Hour)})
	}
	set()
	require.Equal(t, "value", eve.frame().Type, "it may still")
	s.banned.Store(true)
	for _, c := range s.handler.Conns() {
		c.SetPrincipal(t.Context(), gateway.Principal{Name: "ada", Expires: time.Now().Add(2 * time.Hour)})
	}
	set()
	require.Equal(t, "forbidden", eve.frame().Code)
}

// What lists nothing allows nothing.
func TestWithoutAllowNothingIsAllowed(t *testing.T) {
	t.Parallel()
	pool := storagetest.New(t)
	calls, err := bus.NewClient(pool, bus.ClientConfig{})
	require.NoError(t, err)
	k, err := keywords.NewClient(pool, keywords.ClientConfig{})
	require.NoError(t, err)
	q, err := jobs.NewClient(pool, jobs.ClientConfig{})
	require.NoError(t, err)
	h, err := gateway.New(pool, gateway.Config{Commands: control.Commands(control.Config{Bus: calls, Keywords: k, Jobs: q})})
	require.NoError(t, err)
	srv := httptest.NewServer(h)
	t.Cleanup(func() { _ = h.Close(); srv.Close() })
	s := &site{t: t, url: srv.URL}
	p := s.open("")
	for _, command := range [][]any{
		{"CALL", "calc", "add"}, {"STREAM", "calc", "count"}, {"WORKERS", "calc"}, {"SUBMIT", "sums", "add"}, {"JOB", "sums:1"},
		{"READ", "stage.SPEED"}, {"SET", "stage.SPEED", 1}, {"WATCH", "stage"}, {"WAIT", "$stage.SPEED > 1"}, {"DESCRIBE", "stage"},
	} {
		_, code := p.does(command[0].(string), command[1:]...)
		require.Equal(t, "forbidden", code, "%v", command)
	}
	values, code := p.does("SERVICES")
	require.Empty(t, values, code)
	require.Empty(t, control.Commands(control.Config{}), "without clients there are no commands")
}
