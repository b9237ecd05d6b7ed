package gateway

import (
	"runtime"
	"slices"
	"sync"
	"time"
)

// deliver takes what the source has, and does not wait. All that has come while
// the last was handed out goes out together.
func (ch *channel) deliver(p Publication) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	if ch.over {
		return
	}
	if len(ch.pending) >= ch.hub.h.cfg.Limits.Pending {
		ch.hub.h.count.overflowed.Add(int64(len(ch.pending)))
		ch.pending = append(ch.pending[:0], Publication{Gap: true})
	}
	ch.pending = append(ch.pending, p)
	if !ch.running {
		ch.running = true
		ch.hub.h.tasks.Go(ch.run)
	}
}

// maxBatch is how many publications are handed out at once.
const maxBatch = 64

// run hands out what is pending.
func (ch *channel) run() {
	var batch []Publication
	for {
		ch.mu.Lock()
		n := min(maxBatch, len(ch.pending))
		if n == 0 {
			ch.running = false
			ch.mu.Unlock()
			return
		}
		batch = append(batch[:0], ch.pending[:n]...)
		ch.pending = slices.Delete(ch.pending, 0, n)
		if ch.sorted == nil {
			ch.sorted = slices.Clone(ch.members)
		}
		members := ch.sorted
		ch.mu.Unlock()
		ch.handOut(batch, members)
	}
}

// message makes a message of a publication; nil: a hook has taken it.
func (ch *channel) message(p Publication) *Message {
	if p.Gap {
		ch.hub.h.count.gaps.Add(1)
		raw := append(appendString([]byte(`{"status": "gap", "channel": `), ch.name), '}')
		return &Message{Name: ch.name, Source: ch.name, Content: raw, Time: time.Now(), kind: KindStatus}
	}
	m := newMessage(ch.name, ch.name, p.Data)
	m.Offset, m.seq = p.Offset, p.seq
	return ch.hub.h.applyPublicationHooks(m)
}

// handOut gives a batch to all members. Those who get the same get the same
// bytes, made once.
func (ch *channel) handOut(batch []Publication, members []*member) {
	h := ch.hub.h
	messages := make([]*Message, 0, len(batch))
	for _, p := range batch {
		if p.ended != nil {
			ch.unsubscribeAll(members, p.ended)
			return
		}
		if m := ch.message(p); m != nil {
			messages = append(messages, m)
		}
	}
	h.count.published.Add(int64(len(batch)))
	if len(messages) == 0 {
		return
	}
	var together []batchFrame
	var entries []entry
	delivered, waits := 0, len(members) > flushShare
	for _, m := range members {
		if !m.live.Load() && m.hold(messages) {
			continue
		}
		if m.floor.Load() == nil && ch.rule.Slow == SlowDisconnect && m.c.filters.Load() == nil {
			entries = append(entries[:0], joinBatch(&together, messages, m.c.v))
		} else {
			entries = m.entries(entries[:0], m.fresh(messages))
		}
		if len(members) > flushShare { // and so flushed by several goroutines
			delivered += m.offer(entries)
			continue
		}
		n, wait := m.deliver(entries)
		delivered, waits = delivered+n, waits || wait
	}
	h.count.delivered.Add(int64(delivered))
	if waits {
		flush(members)
	}
}

// flushShare is how many members one goroutine flushes.
const flushShare = 1024

// flush has what was queued written, by as many goroutines as there are processors
// for large channels.
func flush(members []*member) {
	n := min(runtime.GOMAXPROCS(0), (len(members)+flushShare-1)/flushShare)
	if n <= 1 {
		for _, m := range members {
			m.c.flush()
		}
		return
	}
	var wg sync.WaitGroup
	for part := range slices.Chunk(members, (len(members)+n-1)/n) {
		wg.Go(func() {
			for _, m := range part {
				m.c.flush()
			}
		})
	}
	wg.Wait()
}

// expel ends all memberships of a channel that can't be followed any more.
func (ch *channel) unsubscribeAll(members []*member, why error) {
	ch.hub.h.log.Warn("gateway: a channel is lost", "channel", ch.name, "error", why)
	ch.hub.forget(ch)
	for _, m := range members {
		if m.c.leave(m) {
			m.c.status(map[string]any{"status": "unsubscribed", "channel": ch.name}, nil)
		}
	}
}

// batchFrame is a batch as one, for those of a variant who get all of it.
type batchFrame struct {
	v variant
	e entry
}

func joinBatch(known *[]batchFrame, messages []*Message, v variant) entry {
	for _, t := range *known {
		if t.v == v {
			return t.e
		}
	}
	e := entry{data: messages[0].compiled(v), n: len(messages)}
	if len(messages) > 1 {
		e.data = append([]byte(nil), e.data...)
		for _, m := range messages[1:] {
			e.data = append(e.data, m.compiled(v)...)
		}
	}
	*known = append(*known, batchFrame{v, e})
	return e
}
