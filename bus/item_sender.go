package bus

import (
	"context"
	"fmt"
	"sync"

	"github.com/heliograph/heliograph/internal/redisio"
)

// The largest window: items in it are in Redis's memory. A worker keeps to it even if
// a request asks for more.
const (
	maxWindowItems = 10_000
	maxWindowBytes = 64 << 20
)

// itemSender sends the items of a stream, within the caller's window.
type itemSender struct {
	w     *Worker
	t     *task
	inbox string
	limit window
	room  chan struct{} // the window may have room again; holds one

	mu    sync.Mutex
	sent  window
	spent window // of sent, consumed by the caller
	err   error  // why an item was not sent
	bad   *refusal
}

func newItemSender(w *Worker, t *task) *itemSender {
	return &itemSender{w: w, t: t, inbox: w.inboxOf(t.client), room: make(chan struct{}, 1), limit: window{
		items: min(t.window.items, maxWindowItems),
		bytes: min(t.window.bytes, maxWindowBytes),
	}}
}

// send sends an item, and waits for room in the window.
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

// try sends an item if the window has room for it.
func (o *itemSender) try(ctx context.Context, it item) (sent bool, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return false, err
	}
	if o.err != nil {
		return false, o.err
	}
	if !o.openLocked() {
		return false, nil
	}
	o.sent.items++
	o.sent.bytes += uint64(it.size)
	// Append is called under the lock, so that items are sent in order.
	it.number(o.sent.items)
	redisio.Of(o.w.pool).Writer().Append(o.t, o.inbox, it.frame, func(_ int64, err error) {
		if err != nil {
			go o.fail(err) // the writer may call this under the lock
		}
	})
	if o.openLocked() {
		signal(o.room)
	}
	return true, nil
}

// openLocked reports whether the window has room.
func (o *itemSender) openLocked() bool {
	return o.sent.items-o.spent.items < o.limit.items && o.sent.bytes-o.spent.bytes < o.limit.bytes
}

// fail ends the stream because an item was not sent.
func (o *itemSender) fail(err error) {
	o.mu.Lock()
	if o.err == nil {
		o.err = redisio.Wrap("bus: stream: an item was not sent", err)
	}
	o.mu.Unlock()
	signal(o.room)
}

// refuse ends the stream because an item can't be sent.
func (o *itemSender) refuse(text string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.bad == nil {
		o.bad = &refusal{CodeBadResult, text}
		o.err = o.bad
	}
	return o.err
}

// credit notes how much the caller has consumed since the beginning.
func (o *itemSender) credit(spent window) {
	o.mu.Lock()
	o.spent.items = max(o.spent.items, min(spent.items, o.sent.items))
	o.spent.bytes = max(o.spent.bytes, min(spent.bytes, o.sent.bytes))
	o.mu.Unlock()
	signal(o.room)
}

// between calls say between two items, with the number of items sent before.
func (o *itemSender) between(say func(sent uint64)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	say(o.sent.items)
}

// end returns how many items were sent, and the refusal that ended the stream, if any.
// If an item may not have been sent it counts one more, so that the caller finds the
// stream broken whatever the handler returns.
func (o *itemSender) end() (sent uint64, bad *refusal) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil && o.bad == nil {
		return o.sent.items + 1, nil
	}
	return o.sent.items, o.bad
}
