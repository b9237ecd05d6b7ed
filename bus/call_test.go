package bus_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

func TestCallIsAnswered(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		ctx := t.Context()
		a, b := start(t, pool, bus.WorkerConfig{}), start(t, pool, bus.WorkerConfig{})
		c := client(t, pool, bus.ClientConfig{})
		var wg sync.WaitGroup
		for i := range 16 {
			wg.Go(func() {
				for j := range 50 {
					sum, err := bus.Call(ctx, c, bus.Group("calc"), Add, AddArgs{i, j})
					if err != nil || sum != i+j {
						t.Errorf("%d+%d = %d, %v", i, j, sum, err)
					}
				}
			})
		}
		wg.Wait()
		require.EqualValues(t, 800, a.Stats().Calls+b.Stats().Calls)
		for _, w := range []*running{a, b, a} {
			who, err := bus.Call(ctx, c, bus.Direct(w.ID()), Name, "")
			require.NoError(t, err)
			require.Equal(t, w.ID(), who)
		}
	})
}

func TestCallWithoutWorkers(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		c := client(t, pool, bus.ClientConfig{})
		for _, to := range []bus.Address{bus.Group("absent"), bus.Direct("absent:host:1:abc")} {
			_, err := bus.Call(t.Context(), c, to, Add, AddArgs{})
			require.ErrorIs(t, err, bus.ErrNoWorkers)
			require.EqualError(t, err, "bus: call add at "+to.String()+": no workers")
			require.ErrorIs(t, bus.Send(t.Context(), c, to, Add, AddArgs{}), bus.ErrNoWorkers)
		}
		require.NoError(t, c.Close())
		require.Empty(t, keysOf(t, pool), "nothing is left in Redis")

		// That no worker is alive is not remembered.
		c = client(t, pool, bus.ClientConfig{})
		_, err := bus.Call(t.Context(), c, bus.Group("calc"), Add, AddArgs{})
		require.ErrorIs(t, err, bus.ErrNoWorkers)
		start(t, pool, bus.WorkerConfig{})
		_, err = bus.Call(t.Context(), c, bus.Group("calc"), Add, AddArgs{})
		require.NoError(t, err)
	})
}

// A client trusts for a second that a worker is alive. A call sent in that
// second is not left to its deadline.
func TestCallWhenTheLastWorkerHasJustGone(t *testing.T) {
	t.Parallel()
	storagetest.Slow(t, func(t *testing.T, pool *storage.Pool) {
		w := start(t, pool, bus.WorkerConfig{})
		c := client(t, pool, bus.ClientConfig{})
		_, err := bus.Call(t.Context(), c, bus.Group("calc"), Add, AddArgs{})
		require.NoError(t, err)
		require.NoError(t, w.end())
		_, err = bus.Call(t.Context(), c, bus.Group("calc"), Add, AddArgs{})
		require.ErrorIs(t, err, bus.ErrNoWorkers)
		require.NoError(t, c.Close())
		require.Empty(t, keysOf(t, pool), "the call was taken out of the queue")
	})
}

func TestErrorsOfAWorkerHaveACode(t *testing.T) {
	t.Parallel()
	const teapot bus.Code = "teapot"
	fail := bus.NewMethod[string, any]("fail")
	other := bus.NewMethod[string, int]("other")
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		var log syncBuffer
		cfg := pool.Config()
		cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
		pool = storagetest.Open(t, cfg)
		c := client(t, pool, bus.ClientConfig{})
		start(t, pool, bus.WorkerConfig{Type: "empty"})
		w := start(t, pool, bus.WorkerConfig{MaxMessage: 1000}, func(w *bus.Worker) {
			bus.Handle(w, fail, func(ctx context.Context, how string) (any, error) {
				switch how {
				case "plain":
					return nil, errors.New("out of paper")
				case "code":
					return nil, teapot
				case "wrapped code":
					return nil, fmt.Errorf("short and stout: %w", teapot)
				case "errorf":
					return nil, bus.Errorf(teapot, "%d spouts", 1)
				case "wrapped errorf":
					return nil, fmt.Errorf("kitchen: %w", bus.Errorf(teapot, "1 spout"))
				case "reserved":
					return nil, bus.CodeUnknownMethod
				case "nested":
					_, err := bus.Call(ctx, c, bus.Group("empty"), other, "")
					return nil, err
				case "panic":
					panic("the secret is 42")
				case "goexit":
					t := &testing.T{}
					t.FailNow()
				case "chan":
					return make(chan int), nil
				case "large":
					return strings.Repeat("x", 1001), nil
				}
				return how, nil
			})
		})
		for how, want := range map[string]bus.Error{
			"plain":          {Code: bus.CodeFailed, Text: "out of paper"},
			"code":           {Code: teapot},
			"wrapped code":   {Code: teapot, Text: "short and stout: teapot"},
			"errorf":         {Code: teapot, Text: "1 spouts"},
			"wrapped errorf": {Code: teapot, Text: "kitchen: bus: : teapot: 1 spout"},
			"reserved":       {Code: bus.CodeFailed, Text: "unknown_method"},
			"panic":          {Code: bus.CodePanic},
			"goexit":         {Code: bus.CodePanic},
			"large":          {Code: bus.CodeBadResult, Text: "1004 bytes, WorkerConfig.MaxMessage is 1000"},
		} {
			_, err := bus.Call(t.Context(), c, bus.Group("calc"), fail, how)
			var got *bus.Error
			require.ErrorAs(t, err, &got, how)
			require.ErrorIs(t, err, want.Code, how)
			want.Method, want.Worker = "fail", w.ID()
			require.Equal(t, want, *got, how)
		}
		_, err := bus.Call(t.Context(), c, bus.Group("calc"), fail, "chan")
		require.ErrorIs(t, err, bus.CodeBadResult)
		_, err = bus.Call(t.Context(), c, bus.Group("calc"), fail, "nested")
		require.ErrorIs(t, err, bus.CodeFailed, "the method that is unknown is another's")
		require.ErrorContains(t, err, "empty has no method")
		_, err = bus.Call(t.Context(), c, bus.Group("calc"), other, "")
		require.ErrorIs(t, err, bus.CodeUnknownMethod)
		require.ErrorContains(t, err, `bus: other: unknown_method: type calc has no method "other" (calc:`)
		_, err = bus.Call(t.Context(), c, bus.Group("calc"), bus.NewMethod[string, int]("add"), "one")
		require.ErrorIs(t, err, bus.CodeBadArguments)
		_, err = bus.Call(t.Context(), c, bus.Group("calc"), bus.NewMethod[AddArgs, map[string]string]("add"), AddArgs{})
		require.ErrorContains(t, err, "result of calc:", "a fact of this side")
		require.NotErrorIs(t, err, bus.CodeFailed)

		text, err := bus.Call(t.Context(), c, bus.Group("calc"), fail, "not")
		require.NoError(t, err, "the worker goes on")
		require.Equal(t, "not", text)
		require.Contains(t, log.String(), "the secret is 42")
		require.Contains(t, log.String(), "call_test.go", "the stack")
	})
}

// syncBuffer is a buffer that a logger may write to from anywhere.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func TestAnyCodecIsUnderstoodAndAnsweredInKind(t *testing.T) {
	t.Parallel()
	type Order struct {
		ID   int64          `json:"id"`
		When time.Time      `json:"when"`
		Any  map[string]any `json:"any,omitempty"`
	}
	bounce := bus.NewMethod[Order, Order]("bounce")
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		ctx := t.Context()
		start(t, pool, bus.WorkerConfig{}, func(w *bus.Worker) {
			bus.Handle(w, bounce, func(_ context.Context, o Order) (Order, error) { o.ID++; return o, nil })
		})
		start(t, pool, bus.WorkerConfig{Type: "proxy"}, func(w *bus.Worker) {
			bus.HandleAny(w, func(_ context.Context, method string, b bus.Body) (bus.Body, error) {
				if method == "odd" {
					return bus.Body{Codec: 77}, nil
				}
				return bus.Body{Codec: b.Codec, Data: append([]byte(method+":"), b.Data...)}, nil
			})
		})
		c := client(t, pool, bus.ClientConfig{})
		to := bus.Group("calc")

		// JSON from a shell reaches the struct without becoming floats.
		got, err := bus.CallRaw(ctx, c, to, "bounce", bus.Body{Codec: storage.JSON, Data: []byte(`{"id":9007199254740993,"when":"2026-11-20T19:39:00Z","any":{"n":9007199254740993}}`)})
		require.NoError(t, err)
		require.Equal(t, storage.JSON, got.Codec)
		require.JSONEq(t, `{"id":9007199254740994,"when":"2026-11-20T19:39:00Z","any":{"n":9007199254740993}}`, string(got.Data))
		require.Contains(t, string(got.Data), `"n":9007199254740993`)

		for _, codec := range []storage.Codec{storage.MsgPack, storage.JSON} {
			o, err := bus.Call(ctx, c, to, bounce.WithCodec(codec), Order{ID: math.MaxInt64 - 1})
			require.NoError(t, err)
			require.EqualValues(t, math.MaxInt64, o.ID)
		}
		text, err := bus.CallRaw(ctx, c, to, "name", bus.Body{Codec: storage.Text, Data: []byte("x")})
		require.NoError(t, err)
		require.True(t, strings.HasPrefix(string(text.Data), "calc:"))
		sum, err := bus.CallRaw(ctx, c, to, "add", bus.Body{})
		require.NoError(t, err, "no arguments are zero arguments")
		require.Equal(t, []byte{0}, sum.Data)

		_, err = bus.CallRaw(ctx, c, to, "bounce", bus.Body{Codec: storage.Text, Data: []byte("x")})
		require.ErrorIs(t, err, bus.CodeBadArguments)
		_, err = bus.CallRaw(ctx, c, to, "bounce", bus.Body{Codec: storage.JSON, Data: []byte("{")})
		require.ErrorIs(t, err, bus.CodeBadArguments)
		_, err = bus.CallRaw(ctx, c, to, "bounce", bus.Body{Data: []byte{0xdd, 0x7f, 0xff, 0xff, 0xff}})
		require.ErrorIs(t, err, bus.CodeBadArguments)

		raw, err := bus.CallRaw(ctx, c, bus.Group("proxy"), "anything", bus.Body{Codec: storage.Raw, Data: []byte{0, 1}})
		require.NoError(t, err)
		require.Equal(t, bus.Body{Codec: storage.Raw, Data: []byte("anything:\x00\x01")}, raw)
		_, err = bus.CallRaw(ctx, c, bus.Group("proxy"), "odd", bus.Body{})
		require.ErrorIs(t, err, bus.CodeBadResult)
		sum2, err := bus.Call(ctx, c, bus.Group("proxy"), Add, AddArgs{1, 2})
		require.NoError(t, err, "what has a handler goes to it")
		require.Equal(t, 3, sum2)
	})
}

func TestHeadersReachTheHandler(t *testing.T) {
	t.Parallel()
	trace := bus.NewMethod[struct{}, bus.Header]("trace")
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		start(t, pool, bus.WorkerConfig{}, func(w *bus.Worker) {
			bus.Handle(w, trace, func(ctx context.Context, _ struct{}) (bus.Header, error) { return bus.HeaderFrom(ctx), nil })
		})
		c := client(t, pool, bus.ClientConfig{})
		want := bus.Header{"traceparent": "00-ab-cd-01", "empty": ""}
		got, err := bus.Call(t.Context(), c, bus.Group("calc"), trace, struct{}{}, bus.CallOptions{Header: want})
		require.NoError(t, err)
		require.Equal(t, want, got)
		got, err = bus.Call(t.Context(), c, bus.Group("calc"), trace, struct{}{})
		require.NoError(t, err)
		require.Empty(t, got)
		_, err = bus.Call(t.Context(), c, bus.Group("calc"), trace, struct{}{}, bus.CallOptions{}, bus.CallOptions{})
		require.ErrorContains(t, err, "more than one bus.CallOptions")
		require.Nil(t, bus.HeaderFrom(t.Context()))
	})
}

func TestDeadlineReachesTheHandler(t *testing.T) {
	t.Parallel()
	left := bus.NewMethod[struct{}, time.Duration]("left")
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		handled := make(chan error, 2)
		start(t, pool, bus.WorkerConfig{Drain: -1}, func(w *bus.Worker) {
			bus.Handle(w, left, func(ctx context.Context, _ struct{}) (time.Duration, error) {
				at, ok := ctx.Deadline()
				if !ok {
					return -1, nil
				}
				return time.Until(at), nil
			})
			bus.Handle(w, bus.NewMethod[struct{}, int]("sleep"), func(ctx context.Context, _ struct{}) (int, error) {
				<-ctx.Done()
				handled <- ctx.Err()
				return 0, ctx.Err()
			})
		})
		to := bus.Group("calc")
		for _, c := range []struct {
			timeout, own time.Duration
			want         time.Duration
		}{{0, 0, 30 * time.Second}, {time.Minute, 0, time.Minute}, {time.Minute, 5 * time.Second, 5 * time.Second}, {-1, 0, -1}, {-1, time.Hour, time.Hour}} {
			caller := client(t, pool, bus.ClientConfig{Timeout: c.timeout})
			ctx := t.Context()
			if c.own > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, c.own)
				defer cancel()
			}
			got, err := bus.Call(ctx, caller, to, left, struct{}{})
			require.NoError(t, err)
			if c.want < 0 {
				require.EqualValues(t, -1, got, "none")
				continue
			}
			require.LessOrEqual(t, got, c.want+time.Second)
			require.Greater(t, got, c.want-4*time.Second)
		}

		c := client(t, pool, bus.ClientConfig{Timeout: time.Second}) // enough for the handler to begin
		_, err := bus.Call(t.Context(), c, to, bus.NewMethod[struct{}, int]("sleep"), struct{}{})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		// The deadline, which the method above has seen, or the cancelling of the caller
		// that gave up at the same time.
		require.Contains(t, []error{context.DeadlineExceeded, context.Canceled}, <-handled)

		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(10*time.Millisecond, cancel)
		slow := client(t, pool, bus.ClientConfig{})
		_, err = bus.Call(ctx, slow, to, bus.NewMethod[struct{}, int]("sleep"), struct{}{})
		require.ErrorIs(t, err, context.Canceled)
		_, err = bus.Call(ctx, slow, to, left, struct{}{})
		require.ErrorIs(t, err, context.Canceled)
	})
}

func TestAnExpiredRequestIsNotRun(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		g := newGate()
		hold := bus.NewMethod[struct{}, struct{}]("hold")
		var ran atomic.Int64
		count := bus.NewMethod[struct{}, struct{}]("count")
		w := start(t, pool, bus.WorkerConfig{Concurrency: 1}, func(w *bus.Worker) {
			bus.Handle(w, hold, func(ctx context.Context, _ struct{}) (struct{}, error) { return struct{}{}, g.pass(ctx) })
			bus.Handle(w, count, func(context.Context, struct{}) (struct{}, error) { ran.Add(1); return struct{}{}, nil })
		})
		c := client(t, pool, bus.ClientConfig{})
		held := make(chan error, 1)
		go func() {
			_, err := bus.Call(t.Context(), c, bus.Group("calc"), hold, struct{}{})
			held <- err
		}()
		<-g.entered
		ctx, cancel := context.WithTimeout(t.Context(), time.Second) // enough for it to be sent
		defer cancel()
		_, err := bus.Call(ctx, c, bus.Group("calc"), count, struct{}{})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		close(g.open)
		require.NoError(t, <-held)
		_, err = bus.Call(t.Context(), c, bus.Group("calc"), count, struct{}{})
		require.NoError(t, err)
		require.EqualValues(t, 1, ran.Load())
		require.EqualValues(t, 1, w.Stats().Expired)
	})
}
