package bus

import (
	"context"
	"fmt"
	"sync"

	"github.com/heliograph/heliograph/internal/redisio"
)

// What a window may be at most: it is memory of Redis. A worker holds itself to
// it whatever the request says; a client that asked for more would give its
// credits too late.
const (
	maxWindowItems = 10_000
	maxWindowBytes = 64 << 20
)

// itemSender sends the items of a stream, no more than its caller has room for.
type itemSender struct {
	w     *Worker
	t     *task
	inbox string
	limit window
	room  chan struct{} // somebody may look again whether there is; holds one

	mu    sync.Mutex
	sent  window
	spent window // of it, as the caller says
	err   error  // an item could not be sent
	bad   *refusal
}

func newItemSender(w *Worker, t *task) *itemSender {
	return &itemSender{w: w, t: t, inbox: w.inboxOf(t.client), room: make(chan struct{}, 1), limit: window{
		items: min(t.window.items, maxWindowItems),
		bytes: min(t.window.bytes, maxWindowBytes),
	}}
}

// send sends an item when there is room for it.
func (o *itemSender) send(ctx context.Context, v any) error {
	it, err := packItem(o.t.id, o.w.info.ID, o.t.body.Codec, v)
	if err != nil {
		return o.refuse(err.Error())
	}
	if it.size > o.w.cfg.MaxMessage {
		return o.refuse(fmt.Sprintf("item of %d bytes, WorkerConfig.MaxMessage is %d", it.size, o.w.cfg.MaxMessage))
	}
	for {
		if sent, err := o.try(ctx, it); sent || err != nil {
			return err
		}
		select {
		case <-o.room:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// try sends an item if there is room for it.
func (o *itemSender) try(ctx context.Context, it item) (sent bool, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return false, err
	}
	if o.err != nil {
		return false, o.err
	}
	if !o.open() {
		return false, nil
	}
	o.sent.items++
	o.sent.bytes += uint64(it.size)
	// Under the lock, so that items go in the order of their numbers.
	it.number(o.sent.items)
	redisio.Of(o.w.pool).Writer().Append(o.t, o.inbox, it.frame, func(_ int64, err error) {
		if err != nil {
			go o.fail(err) // the writer may call this under the lock
		}
	})
	if o.open() {
		signal(o.room)
	}
	return true, nil
}

// open reports whether there is room. The lock is held.
func (o *itemSender) open() bool {
	return o.sent.items-o.spent.items < o.limit.items && o.sent.bytes-o.spent.bytes < o.limit.bytes
}

// fail ends the stream: an item that is missing can't be made up for.
func (o *itemSender) fail(err error) {
	o.mu.Lock()
	if o.err == nil {
		o.err = redisio.Wrap("bus: stream: an item was not sent", err)
	}
	o.mu.Unlock()
	signal(o.room)
}

// refuse ends the stream with an item that can't be sent.
func (o *itemSender) refuse(text string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.bad == nil {
		o.bad = &refusal{CodeBadResult, text}
		o.err = o.bad
	}
	return o.err
}

// credit learns how much the caller has consumed since the beginning.
func (o *itemSender) credit(spent window) {
	o.mu.Lock()
	o.spent.items = max(o.spent.items, min(spent.items, o.sent.items))
	o.spent.bytes = max(o.spent.bytes, min(spent.bytes, o.sent.bytes))
	o.mu.Unlock()
	signal(o.room)
}

// between runs say between two items, with the number of those before.
func (o *itemSender) between(say func(sent uint64)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	say(o.sent.items)
}

// end returns how many items were sent, and what ended the stream if the handler
// did not.
func (o *itemSender) end() (sent uint64, bad *refusal) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.sent.items, o.bad
}
