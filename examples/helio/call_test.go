package main

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/examples/internal/printed"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

type pair struct {
	A int `json:"a"`
	B int `json:"b"`
}

var (
	add   = bus.NewMethod[pair, int]("add")
	hail  = bus.NewMethod[string, string]("hail")
	hang  = bus.NewMethod[struct{}, struct{}]("hang")
	tally = bus.NewStream[int, int]("tally")
)

// calc runs a worker in Go and returns its id.
func calc(t *testing.T, pool *storage.Pool) string {
	t.Helper()
	w, err := bus.NewWorker(pool, bus.WorkerConfig{Type: "calc", Version: "1.2", AllowStop: true, Drain: -1})
	require.NoError(t, err)
	bus.Handle(w, add, func(_ context.Context, p pair) (int, error) { return p.A + p.B, nil })
	bus.Handle(w, hail, func(_ context.Context, name string) (string, error) {
		if name == "" {
			return "", errors.New("whom?\nsay it")
		}
		return "hail \x1b[31m" + name, nil
	})
	bus.Handle(w, hang, func(ctx context.Context, _ struct{}) (struct{}, error) { <-ctx.Done(); return struct{}{}, ctx.Err() })
	bus.HandleStream(w, tally, func(ctx context.Context, n int, send func(int) error) error {
		for i := range n {
			if err := send(i); err != nil {
				return err
			}
		}
		if n > 2 { // goes on
			<-ctx.Done()
		}
		return nil
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	t.Cleanup(func() { cancel(); require.NoError(t, <-ended) })
	select {
	case <-w.Ready():
	case <-time.After(soon):
		t.Fatal("the worker is not ready")
	}
	return w.ID()
}

func TestCall(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		s, id := on(t, pool), calc(t, pool)
		require.Equal(t, "3", s.ok("call", "add", "--worker", "calc", "--jsondata", `{"a":1,"b":2}`))
		require.Equal(t, "3", s.ok("call", "add", "--worker_id", id, "--local", "--jsondata", `{"a":1,"b":2}`), "the id overrides --local")
		require.Equal(t, "3", s.ok("call", "calc", "add", "--jsondata", `{"a":1,"b":2}`))
		require.Equal(t, "0", s.ok("call", id, "add"), "no arguments are zero ones")
		require.Equal(t, id+"  0", s.ok("call", "calc:*", "add"))
		require.Equal(t, id+"  0", s.ok("call", "calc", "add", "--broadcast"))
		require.Equal(t, id+"  0", s.ok("call", "calc", "add", "--local"))
		require.Equal(t, id+"  0", s.ok("call", "add", "--broadcast"))
		require.Equal(t, `{"value":0,"worker":"`+id+`"}`, s.ok("call", "add", "--multicast", "calc:*", "-o", "json"))
		require.Equal(t, id+"  0", s.ok("call", "add", "--multicast", strings.TrimPrefix(id, "calc:"), "--worker", "calc"))
		require.Equal(t, id+"  0", s.ok("call", "add", "--worker", "calc", "--broadcast"))
		require.Equal(t, "hail ?[31mada", s.ok("call", "hail", "--worker", "calc", "--data", "ada"), "a reply doesn't steer the terminal")
		require.Equal(t, `"hail \u001b[31mada"`, s.ok("call", "hail", "--worker", "calc", "--data", "ada", "--output", "json"))

		r := s.helio(`{"a":20,"b":2}`, "call", "add", "--worker", "calc")
		require.Equal(t, result{0, "22\n", ""}, r)
		r = s.helio(`{"a":20,"b":2}`, "call", "add", "--worker", "calc", "--jsondata", "-")
		require.Equal(t, result{0, "22\n", ""}, r)
		r = s.helio(`ada`, "call", "hail", "--worker", "calc", "--data", "-", "-o", "json")
		require.Equal(t, result{0, `"hail \u001b[31mada"` + "\n", ""}, r)

		require.Equal(t, id+": failed: whom?; say it", s.fails(exitFailed, "call", "hail", "--worker", "calc", "--data", ""))
		require.Contains(t, s.fails(exitFailed, "call", "add", "--worker", "calc", "--data", "x"), id+": bad_arguments: ")
		require.Equal(t, id+` has no method "ad": it has add, hail, hang, tally`, s.fails(exitFailed, "call", "ad", "--worker", "calc"))
		require.Equal(t, "no worker of type cal at site local; running: calc (1)", s.fails(exitNotFound, "call", "add", "--worker", "cal"))
		require.Equal(t, "no worker calc:h:1:abcd at site local; of this type: "+id, s.fails(exitNotFound, "call", "add", "--worker_id", "calc:h:1:abcd"))
		require.Equal(t, "no worker matching x:* at site local; running: calc (1)", s.fails(exitNotFound, "call", "add", "--multicast", "x:*"))
		require.Equal(t, "no worker matching x:* at site local; running: calc (1)", s.fails(exitNotFound, "call", "x:*", "add"))
		require.Contains(t, s.fails(exitNotFound, "call", "calc", "add", "--site", "mars"), "no worker runs at site mars: ")
		require.Equal(t, "no reply from worker of type calc within 50ms: wait longer with --wait", s.fails(exitLate, "call", "hang", "--worker", "calc", "--wait", "0.05"))
		require.Equal(t, id+"  no reply within 50ms: wait longer with --wait", strings.TrimSuffix(s.helio("", "call", "calc:*", "hang", "--wait", "50ms").err, "\n"))

		r = s.helio("", "call", "calc:*", "ad", "-o", "json")
		require.Equal(t, exitFailed, r.status)
		require.Equal(t, `{"error":"`+id+` has no method \"ad\": it has add, hail, hang, tally","worker":"`+id+`"}`+"\n", r.out)
	})
}

func TestCallOfAStream(t *testing.T) {
	t.Parallel()
	pool := storagetest.New(t)
	s, id := on(t, pool), calc(t, pool)
	require.Equal(t, "0\n1", s.ok("call", "tally", "--worker", "calc", "--jsondata", "2"))
	r := s.helio("", "call", "tally", "--worker", "calc", "--jsondata", "3", "--wait", "0.3")
	require.Equal(t, result{exitLate, "0\n1\n2\n", "helio: the stream goes on after 300ms: --follow prints it until it ends\n"}, r)
	require.Equal(t, id+`  method "tally" is a stream: call it of one worker, by its type or id`, strings.TrimSuffix(s.helio("", "call", "tally", "--broadcast").err, "\n"))

	follow := s.start("call", "tally", "--worker_id", id, "--jsondata", "3", "--follow")
	follow.out.Await(t, "2\n")
	require.Equal(t, exitOK, follow.end())
	require.Empty(t, follow.errs.String())
}

func TestCallThatIsInterrupted(t *testing.T) {
	t.Parallel()
	pool := storagetest.New(t)
	s := on(t, pool)
	calc(t, pool)
	r := s.start("call", "hang", "--worker", "calc", "--wait", "100")
	c, err := bus.NewClient(pool, bus.ClientConfig{})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		for r, err := range bus.Gather(t.Context(), c, bus.Broadcast("calc"), bus.Stats, struct{}{}) {
			if err == nil && r.Value.Held == 1 {
				return true
			}
		}
		return false
	}, soon, time.Millisecond)
	require.Equal(t, exitInterrupted, r.end())
	require.Equal(t, "helio: interrupted\n", r.errs.String())
}

func TestArgumentsOfACall(t *testing.T) {
	t.Parallel()
	s := on(t, storagetest.New(t))
	for _, c := range []struct {
		want string
		args []string
	}{
		{"METHOD is missing: helio call [TARGET] METHOD", nil},
		{"no target: helio call TARGET a, with a worker type, an id or a pattern; --broadcast calls all workers", []string{"a"}},
		{"no target: helio call TARGET a, with a worker type, an id or a pattern; --broadcast calls all workers", []string{"a", "--local=false"}},
		{`"c" is one argument too many for helio call [TARGET] METHOD: was --data c meant?`, []string{"a", "b", "c"}},
		{`"[1, 2]" is one argument too many for helio call [TARGET] METHOD: was --jsondata '[1, 2]' meant?`, []string{"a", "b", "[1, 2]"}},
		{`"follow" is one argument too many for helio call [TARGET] METHOD: was --follow meant?`, []string{"a", "b", "follow"}},
		{`two targets: "calc" and --worker echo`, []string{"calc", "a", "--worker", "echo"}},
		{"--data or --jsondata: not both", []string{"x", "a", "--data", "1", "--jsondata", "1"}},
		{`--jsondata is empty: want one value, such as '[1,2]' or '{"a":1}'`, []string{"x", "a", "--jsondata", ""}},
		{`--jsondata is not JSON: unexpected end of JSON input at byte 3: want one value, such as '[1,2]' or '{"a":1}'`, []string{"x", "a", "--jsondata", "[1,"}},
		{"an id, a pattern, --local and --broadcast exclude each other: give one of them", []string{"a", "--multicast", "x", "--broadcast"}},
		{`--worker_id: want type:host:pid:uid, as helio workers lists them, not "x"`, []string{"a", "--worker_id", "x"}},
		{"METHOD: empty name", []string{""}},
		{`METHOD: name "x*": '*' is not allowed`, []string{"x*"}},
		{`METHOD: name "a:b": ':' is not allowed`, []string{"a:b"}},
		{`--worker: name "a b": ' ' is not allowed`, []string{"a", "--worker", "a b"}},
		{`--worker_id: name "h h": ' ' is not allowed`, []string{"a", "--worker_id", "calc:h h:1:abcd"}},
		{`--worker_id: empty name`, []string{"a", "--worker_id", "calc::1:abcd"}},
		{`--multicast: name "a b": ' ' is not allowed`, []string{"a", "--multicast", "a b:*"}},
		{"--follow goes with one worker: a type or an id", []string{"x:*", "a", "--follow"}},
		{`--wait: "soon": want seconds, or a duration such as 1.5s or 2m`, []string{"a", "--wait", "soon"}},
		{`--wait: "0": want a duration above 0`, []string{"a", "--wait", "0"}},
		{"--wait needs a value: see helio call --help", []string{"a", "--wait"}},
	} {
		require.Equal(t, c.want, s.fails(exitUsage, append([]string{"call"}, c.args...)...))
	}
	r := s.helio("{", "call", "x", "a")
	require.Equal(t, exitUsage, r.status)
	require.Contains(t, r.err, "stdin is not JSON: ")
	r = s.helio(`"`+strings.Repeat("x", maxArguments)+`"`, "call", "x", "a")
	require.Equal(t, result{exitUsage, "", "helio: stdin: more than 1048576 bytes of arguments\n"}, r)
	for _, number := range []string{"1e400", "-1e-400", strings.Repeat("7", maxArguments)} {
		r = s.helio(number, "call", "a", "--worker", "calc")
		require.Equal(t, exitNotFound, r.status, "it is JSON")
		require.Less(t, len(r.err), 1000)
	}
	r = s.helio(strings.Repeat("[", 1000)+strings.Repeat("]", 1000), "call", "x", "a")
	require.Contains(t, r.err, "stdin is not JSON: ")
}

// A stdin that does not end may not be meant for the call.
func TestStdinThatDoesNotEnd(t *testing.T) {
	t.Parallel()
	read, write := io.Pipe()
	defer write.Close()
	var out, errs printed.Page
	tool := &tool{in: read, out: &out, err: &errs, getenv: os.Getenv}
	require.Equal(t, exitUsage, tool.run(t.Context(), []string{"helio", "call", "calc", "x", "--wait", "0.05"}))
	require.Equal(t, "helio: stdin has not ended within 50ms: --jsondata - waits for its end, </dev/null calls without arguments\n", errs.String())
}

func TestWhoIsThere(t *testing.T) {
	t.Parallel()
	pool := storagetest.New(t)
	s := on(t, pool)
	require.Equal(t, "[]", s.ok("workers", "-o", "json"))
	require.Contains(t, s.fails(exitNotFound, "workers"), "no worker runs at site local: helio worker TYPE --exec CMD starts one")
	id := calc(t, pool)
	require.Regexp(t, `^ID +UP +VERSION +LABELS\n`+id+` +\d+s +1.2$`, s.ok("workers"))
	for _, target := range [][]string{{id}, {"calc:*"}, {"--worker_id", id}, {"--local"}, {"calc", "--local"}, {"--multicast", "c*"}} {
		require.Contains(t, s.ok(append([]string{"workers"}, target...)...), id, "%v", target)
	}
	require.Contains(t, s.fails(exitNotFound, "workers", "calc:*x"), "no worker matching calc:*x at site local; of this type: "+id)
	require.Contains(t, s.ok("workers", "calc", "--output", "json"), `[{"id":"`+id+`","site":"local","type":"calc",`)
	require.Equal(t, "no worker of type x at site local; running: calc (1)", s.fails(exitNotFound, "workers", "x"))
	for _, args := range [][]string{{"workers"}, {"workers", "--follow"}, {"ping"}, {"stop"}} {
		require.Equal(t, `TARGET: name "a b": ' ' is not allowed`, s.fails(exitUsage, append(args, "a b")...))
	}
	require.Equal(t, `TARGET: name "a b": ' ' is not allowed`, s.fails(exitUsage, "ping", "a b:*"))
	for _, args := range [][]string{{"logs", "calc:::"}, {"download", "calc:::", "x"}} {
		require.Equal(t, "TARGET: empty name", s.fails(exitUsage, args...))
	}

	require.Regexp(t, `^`+id+`  \d`, s.ok("ping"))
	require.Regexp(t, `^`+id+`  \d`, s.ok("ping", id))
	require.Contains(t, s.ok("ping", "ca*", "-o", "json"), `"worker":"`+id+`"`)
	info := s.ok("info", "calc")
	require.Contains(t, info, "method   add: {a: integer, b: integer} → integer\n")
	require.Contains(t, info, "method   tally (stream): integer → integer")
	require.Contains(t, s.ok("info", "--worker_id", id, "-o", "json"), `"version":"1.2"`)
	s.ok("call", "add", "--worker", "calc")
	require.Regexp(t, `add +1 +0 +0 +\S+ +\S+\n`, s.ok("stats", "--worker", "calc"))
	require.Contains(t, s.ok("stats", "-o", "json"), `"name":"add","calls":1`)
	require.Equal(t, "no target: helio stop TARGET, with a worker type, an id or a pattern; --broadcast stops all workers", s.fails(exitUsage, "stop"))
	require.Contains(t, s.ok("ping", "calc", "--local"), id)
	require.Equal(t, `"2" is one argument too many for helio ping [TARGET]: was --wait 2 meant?`, s.fails(exitUsage, "ping", "calc", "2"))

	// A variable of a script that is not set doesn't mean all workers.
	for _, args := range [][]string{
		{"stop", ""}, {"stop", "--worker", ""}, {"stop", "--worker_id", ""}, {"stop", "--worker_id", "", "--local"}, {"stop", "--multicast", ""}, {"stop", "--multicast", "", "--worker", "calc"},
		{"stop", "--local=false"}, {"stop", "--broadcast=false"}, {"workers", ""}, {"logs", ""}, {"call", "", "add"},
		{"call", "add", "--worker", ""}, {"call", "add", "--worker_id="}, {"call", "add", "--multicast", ""}, {"--call", "add", "--worker", ""},
	} {
		s.fails(exitUsage, args...)
	}
	require.Equal(t, `--worker_id: "": want a value, got none`, s.fails(exitUsage, "stop", "--worker_id", ""))
	require.Equal(t, "TARGET: empty name", s.fails(exitUsage, "stop", ""))

	follow := s.start("workers", "--follow")
	follow.out.Await(t, " + "+id+"\n")
	require.Equal(t, id+"  stopping", s.ok("stop", "calc"))
	follow.out.Await(t, " - "+id+"\n")
	require.Equal(t, exitOK, follow.end())
}

func TestDownload(t *testing.T) {
	t.Parallel()
	pool := storagetest.New(t)
	s := on(t, pool)
	dir, here := t.TempDir(), t.TempDir()
	large := strings.Repeat("0123456789", 200_000)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "a.txt"), []byte(large), 0o600))
	w := s.start("worker", "files", "--worker_path", dir, "--exec", "true")
	id := w.ready()
	to := filepath.Join(here, "b.txt")
	require.Equal(t, to+": 2000000 bytes", s.ok("download", id, "a.txt", "--to", to))
	got, err := os.ReadFile(to)
	require.NoError(t, err)
	require.Equal(t, large, string(got))
	require.Contains(t, s.fails(exitUsage, "download", id, "a.txt", "--to", to), "replace it with --force")
	require.Equal(t, large, s.ok("download", id, "a.txt", "--to", "-"))
	require.Equal(t, id+`: not_found: no file "b"`, s.fails(exitFailed, "download", id, "b", "--to", to, "--force"))
	got, err = os.ReadFile(to)
	require.NoError(t, err)
	require.Equal(t, large, string(got), "the file of before is kept")
	entries, err := os.ReadDir(here)
	require.NoError(t, err)
	require.Len(t, entries, 1, "no temporary file is left")
	require.Contains(t, s.fails(exitFailed, "download", id, "../x", "--to", to, "--force"), "not_allowed")
	require.Contains(t, s.fails(exitNotFound, "download", "files:h:1:abcd", "x"), "no worker files:h:1:abcd at site local; of this type: "+id)
	require.Equal(t, large, s.ok("download", "files", "a.txt", "--to", "-"), "the type has one worker")
	require.Equal(t, large, s.ok("download", "a.txt", "--worker", "files", "--to", "-"))
	require.Equal(t, `"c" is one argument too many for helio download [TARGET] PATH: was --to c meant?`, s.fails(exitUsage, "download", "files", "a.txt", "c"))
	require.Contains(t, s.fails(exitUsage, "download", "x"), "TARGET is missing: helio download TARGET PATH")
	require.Contains(t, s.fails(exitUsage, "download", "files:*", "x"), "helio download goes to one worker: give its id, or a type that has one worker")
	s.start("worker", "files", "--exec", "true").ready()
	require.Contains(t, s.fails(exitUsage, "logs", "files"), "2 workers are of type files: give the id of one: files:")
}
