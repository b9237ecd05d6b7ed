package bus

import (
	"context"

	"github.com/heliograph/heliograph/internal/busio"
	"github.com/heliograph/heliograph/storage"
)

func init() {
	busio.NewWorker = func(pool *storage.Pool, cfg any, handle func(context.Context, busio.Call)) (any, error) {
		w, err := newWorker(pool, cfg.(WorkerConfig), true)
		if err != nil {
			return nil, err
		}
		w.register(anyName, &method{deferred: true}, nil, func(ctx context.Context, t *task) (Body, error) {
			handle(ctx, deferredCall{w, t})
			return Body{}, errDeferred
		})
		return w, nil
	}
	once := []CallOptions{{Retry: &Retry{Attempts: 1}}}
	busio.CallOnce = func(ctx context.Context, client any, typ, method string, args []byte, queued func()) ([]byte, error) {
		rep, err := client.(*Client).call(ctx, Group(typ), &request{method: method, body: Body{Data: args}, queued: queued}, false, once)
		if err != nil {
			return nil, err
		}
		return rep.body.Data, nil
	}
}

// deferredCall is a [busio.Call]: a call that is answered after its handler has
// returned.
type deferredCall struct {
	w *Worker
	t *task
}

func (c deferredCall) Method() string { return c.t.request.method }

func (c deferredCall) Args() (storage.Codec, []byte) { return c.t.body.Codec, c.t.body.Data }

func (c deferredCall) Answer(codec storage.Codec, result []byte, err error) {
	c.t.ctx.end()
	c.w.answer(c.t, Body{codec, result}, err)
}

func (c deferredCall) Pack(codec storage.Codec, result []byte) (inbox string, frame []byte) {
	if c.t.id == 0 || c.t.ctx.abandoned() || c.t.answered.Load() {
		return "", nil
	}
	rep := c.w.reply(c.t, Body{codec, result}, nil)
	return c.w.inboxOf(c.t.client), rep.pack()
}

func (c deferredCall) Packed() {
	if c.t.answered.Swap(true) {
		return
	}
	c.t.ctx.end()
	c.w.stats.calls.Add(1)
	c.t.method.stats.answered("")
	c.w.finish(c.t)
}
