package bus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/heliograph/heliograph/internal/busio"
	"github.com/heliograph/heliograph/storage"
)

func init() {
	busio.Attach = func(worker any, name string, source busio.Source) (busio.Host, error) {
		w := worker.(*Worker)
		if w.begun.Load() {
			return nil, fmt.Errorf("bus: worker %s was run before", w.ID())
		}
		if w.sources[name] != nil {
			return nil, fmt.Errorf("bus: worker %s serves %s already", w.ID(), name)
		}
		w.sources[name] = source
		return host{w}, nil
	}
}

func (w *Worker) startSources() {
	fail := func(err error) {
		select {
		case w.refused <- err:
		default:
		}
	}
	for _, s := range w.sources {
		s.Start(fail)
	}
}

func (w *Worker) haltSources() { w.eachSource(busio.Source.Halt) }

func (w *Worker) endSources() { w.eachSource(busio.Source.End) }

// eachSource calls do for all sources at once, since each may wait for Redis.
func (w *Worker) eachSource(do func(busio.Source)) {
	var all sync.WaitGroup
	for _, s := range w.sources {
		all.Go(func() { do(s) })
	}
	all.Wait()
}

// host is a worker as its sources see it.
type host struct{ w *Worker }

func (h host) ID() string               { return h.w.info.ID }
func (h host) Pool() *storage.Pool      { return h.w.pool }
func (h host) Site() string             { return h.w.cfg.Site }
func (h host) Lease() time.Duration     { return h.w.cfg.Lease }
func (h host) Concurrency() int         { return h.w.cfg.Concurrency }
func (h host) Context() context.Context { return h.w.work }

func (h host) Begin(r busio.Request) {
	w := h.w
	t := &task{order: w.arrived.Add(1), foreign: &foreign{timeout: r.Timeout, ended: r.Ended}}
	t.refilled = true // never moved to an overflow list, which holds calls
	t.request.method, t.header, t.body = r.Method, Header(r.Header), Body{r.Codec, r.Args}
	t.ctx.parent, t.ctx.header = r.Context, t.header
	w.held.Add(1)
	m := w.find(r.Method)
	switch {
	case m == nil || m.builtin || m.deferred:
		w.answer(t, Body{}, &refusal{CodeUnknownMethod, fmt.Sprintf("type %s has no method %q", w.cfg.Type, r.Method)})
		return
	case m.stream:
		w.answer(t, Body{}, &refusal{CodeUnknownMethod, fmt.Sprintf("method %q is a stream", r.Method)})
		return
	case len(r.Args) > w.cfg.MaxMessage:
		w.answer(t, Body{}, &refusal{CodeBadArguments, fmt.Sprintf("%d bytes, WorkerConfig.MaxMessage is %d", len(r.Args), w.cfg.MaxMessage)})
		return
	}
	t.method, t.entered = m, true
	m.stats.held.Add(1)
	if m.lane.enter(t) == placeRun {
		go w.serve(t)
	}
}

// foreign is what a task of a source has beyond that of a call.
type foreign struct {
	timeout time.Duration
	ended   func(busio.Outcome)
	text    string // of a panic
	stack   string
}

func (f *foreign) panicked(v any, stack string) {
	f.text, f.stack = fmt.Sprint(v), stack
}

// errReturned is the end of a request that a stopping worker has not begun.
var errReturned = errors.New("returned")

// endForeign ends a request of a source.
func (w *Worker) endForeign(t *task, body Body, err error) {
	f := t.foreign
	if n := len(body.Data); err == nil && n > w.cfg.MaxMessage {
		err = &refusal{CodeBadResult, fmt.Sprintf("%d bytes, WorkerConfig.MaxMessage is %d", n, w.cfg.MaxMessage)}
	}
	o := busio.Outcome{Codec: body.Codec, Result: body.Data, Err: err, Stack: f.stack}
	code := Code("")
	var own *refusal
	switch {
	case err == nil:
	case err == errReturned:
		o.Returned = true
	case err == errExpired:
		code, o.Code, o.Err = CodeFailed, "timeout", context.DeadlineExceeded
	case errors.As(err, &own):
		code, o.Code, o.Returned = own.code, string(own.code), own.code == CodeStopped
		if own.code == CodePanic {
			o.Err = errors.New("panic: " + f.text)
		}
	default:
		code, _ = failure(err)
	}
	if !o.Returned {
		w.stats.calls.Add(1)
		if code != "" {
			w.stats.errors.Add(1)
		}
		if t.entered {
			t.method.stats.answered(code)
		}
	}
	w.forget(t)
	f.ended(o)
	w.release(t)
	w.held.Done()
}
