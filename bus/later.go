package bus

import (
	"context"
	"time"
)

// Pending is a call that is answered after its handler has returned; see
// [HandleLater]. It must be answered once, by Answer or by Pack and Packed, and
// keeps its slot until then.
type Pending struct {
	w *Worker
	t *task
}

// HandleLater has h serve the calls of all methods that have no handler, as
// [HandleAny] does, and does not answer them when h returns: whoever h has given
// them to does, later, in any order. A Serial worker hands out the next call
// when h returns. A call whose h panics is answered with CodePanic. The worker's
// middleware has no part in it. MaxInFlight counts until h returns.
func HandleLater(w *Worker, h func(ctx context.Context, p *Pending), opts ...HandleOptions) {
	w.register(anyName, &method{later: true}, opts, func(ctx context.Context, t *task) (Body, error) {
		h(ctx, &Pending{w, t})
		return Body{}, errLater
	})
}

// Method returns the method that was called.
func (p *Pending) Method() string { return p.t.request.method }

// Body returns the arguments.
func (p *Pending) Body() Body { return p.t.body }

// Sent returns when the call was sent, in the time of Redis.
func (p *Pending) Sent() time.Time { return time.UnixMilli(p.t.sent) }

// Err returns why nobody waits for the answer any more, or nil.
func (p *Pending) Err() error { return p.t.ctx.Err() }

// Answer answers the call as the return of a handler would.
func (p *Pending) Answer(body Body, err error) {
	p.t.ctx.end()
	p.w.answer(p.t, body, err)
}

// Pack returns the answer for somebody else to write, in one step with something
// else: as the last element of an XADD to the stream inbox, with NOMKSTREAM and
// the field redisio.StreamField. Inbox is empty if nobody waits. It may be called
// again, with another answer, until Packed has said that one was written.
func (p *Pending) Pack(body Body, err error) (inbox string, frame []byte) {
	if p.t.id == 0 || p.t.ctx.abandoned() {
		return "", nil
	}
	rep := p.w.reply(p.t, body, err)
	return p.w.inboxOf(p.t.client), rep.pack()
}

// Packed ends the call: what Pack returned was written, or nobody waited for it.
func (p *Pending) Packed() {
	p.t.ctx.end()
	p.w.stats.calls.Add(1)
	p.t.method.stats.answered("")
	p.w.drop(p.t)
}
