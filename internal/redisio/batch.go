package redisio

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"
)

// Bounds of one command and of one batch: while Redis carries out a command, it
// does nothing else.
const (
	maxCommandElems = 512
	maxCommandBytes = 1 << 20
	maxBatchBytes   = 1 << 20
)

type op uint8

const (
	opPush op = iota
	opAppend
	opDo
)

type write struct {
	wanted Wanted
	op     op
	elem   []byte
	ttl    time.Duration // of the list, in opPush; 0: as it has
	args   []any         // of opDo
	keyPos int8          // of opDo: where in args the key is
	bytes  int           // of elem or args
	done   func(int64, error)
}

// size is the size of the write for the limits, in bytes.
func (w *write) size() int64 { return int64(w.bytes) + 64 }

// lane holds the writes for one key, oldest first. A batch has of each lane the
// elements of one command, or a run of other commands, so that no write overtakes one
// that must be tried again.
type lane struct {
	key    string
	writes []write // from head on
	head   int
	sent   []write // under way
	tries  int     // failed tries in a row
}

// batcher has one batch under way at a time. Its goroutine runs while there is something
// to write.
type batcher struct {
	w *Writer

	mu     sync.Mutex
	lanes  map[string]*lane // lanes with something to write
	spare  []*lane          // empty lanes, kept for their buffers
	ready  []*lane          // lanes for the next batch
	busy   bool             // run is running
	idle   sync.Cond        // busy became false
	closed bool
}

func newBatcher(w *Writer) *batcher {
	b := &batcher{w: w, lanes: make(map[string]*lane)}
	b.idle.L = &b.mu
	return b
}

// add reports false if the batcher is closed.
func (b *batcher) add(key string, wr write) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return false
	}
	l := b.lanes[key]
	if l == nil {
		l = b.newLaneLocked(key)
		b.makeReadyLocked(l)
	}
	l.writes = append(l.writes, wr)
	return true
}

// Spare lanes, and the writes that a spare lane has room for.
const (
	maxSpareLanes  = 16
	maxSpareWrites = 4 * maxCommandElems
)

// newLaneLocked adds a lane.
func (b *batcher) newLaneLocked(key string) *lane {
	l := &lane{}
	if n := len(b.spare); n > 0 {
		l, b.spare = b.spare[n-1], b.spare[:n-1]
	}
	l.key = key
	b.lanes[key] = l
	return l
}

// endLaneLocked removes an empty lane.
func (b *batcher) endLaneLocked(l *lane) {
	delete(b.lanes, l.key)
	l.release()
	if len(b.spare) < maxSpareLanes && cap(l.writes)+cap(l.sent) <= maxSpareWrites {
		l.key = ""
		b.spare = append(b.spare, l)
	}
}

// makeReadyLocked queues a lane for the next batch.
func (b *batcher) makeReadyLocked(l *lane) {
	b.ready = append(b.ready, l)
	if !b.busy {
		b.busy = true
		go b.run()
	}
}

func (b *batcher) run() {
	for {
		batch, dropped := b.next()
		for _, wr := range dropped {
			b.w.finish(wr, 0, Because(wr.wanted.Err(), b.w.Trouble()))
		}
		if batch == nil {
			if len(dropped) > 0 {
				continue
			}
			return
		}
		cmds := b.send(batch)
		b.settle(batch, cmds)
		// Callers whose writes have just ended often write again at once. Let them, so
		// that they are in the next batch: with 8 writers that is 1.7 times the writes.
		runtime.Gosched()
	}
}

// next takes the writes of the next batch from the ready lanes, and those whose context
// has ended. If there are none of either, run ends.
func (b *batcher) next() (batch []*lane, dropped []write) {
	b.mu.Lock()
	defer b.mu.Unlock()
	size := 0
	for len(b.ready) > 0 && size < maxBatchBytes && !b.closed {
		l := b.ready[0]
		b.ready[0] = nil
		b.ready = b.ready[1:]
		n, gone := l.take()
		dropped = append(dropped, gone...)
		if size += n; len(l.sent) > 0 {
			batch = append(batch, l)
		} else {
			b.endLaneLocked(l)
		}
	}
	if batch == nil && dropped == nil {
		b.busy = false
		b.ready = nil
		b.idle.Broadcast()
	}
	return batch, dropped
}

// take moves as many writes to sent as fit into one command, and those that are
// no longer wanted to dropped.
func (l *lane) take() (size int, dropped []write) {
	i := l.head
	for ; i < len(l.writes); i++ {
		wr := l.writes[i]
		if wr.wanted.Err() != nil {
			dropped = append(dropped, wr)
			continue
		}
		if n := len(l.sent); n > 0 && (wr.op != l.sent[0].op || n == maxCommandElems || size+wr.bytes > maxCommandBytes) {
			break
		}
		l.sent = append(l.sent, wr)
		size += wr.bytes
	}
	clear(l.writes[l.head:i])
	if l.head = i; i == len(l.writes) {
		l.writes, l.head = l.writes[:0], 0
	}
	return size, dropped
}

// commands appends the commands for the lane's sent writes: one, or one each. One more
// renews the time to live of a list.
func (l *lane) commands(cmds []OnceCmd) []OnceCmd {
	ctx := context.Background()
	var args []any
	var ttl time.Duration
	switch l.sent[0].op {
	case opDo:
		for _, wr := range l.sent {
			cmd := Once(ctx, wr.args...)
			// go-redis sends PUBLISH to any server of a cluster: a message through
			// another server could overtake this one.
			cmd.SetFirstKeyPos(wr.keyPos)
			cmds = append(cmds, cmd)
		}
		return cmds
	case opPush:
		args = append(make([]any, 0, 2+len(l.sent)), "rpush", l.key)
		for _, wr := range l.sent {
			args = append(args, wr.elem)
			ttl = max(ttl, wr.ttl)
		}
	case opAppend:
		args = append(make([]any, 0, 4+2*len(l.sent)), "xadd", l.key, "nomkstream", "*")
		for _, wr := range l.sent {
			args = append(args, StreamField, wr.elem)
		}
	}
	cmds = append(cmds, Once(ctx, args...))
	if ttl > 0 {
		cmds = append(cmds, Once(ctx, "pexpire", l.key, ttl.Milliseconds()))
	}
	return cmds
}

// expires reports whether commands has appended one that renews the time to live.
func (l *lane) expires() bool {
	return slices.ContainsFunc(l.sent, func(wr write) bool { return wr.ttl > 0 })
}

// send writes a batch and waits for its replies. The client's timeouts bound it; a
// caller's context must not end the writes of other callers.
func (b *batcher) send(batch []*lane) []OnceCmd {
	ctx := context.Background()
	b.w.stats.batches.Add(1)
	cmds := make([]OnceCmd, 0, len(batch))
	for _, l := range batch {
		cmds = l.commands(cmds)
	}
	if len(cmds) == 1 {
		_ = b.w.client.Process(ctx, cmds[0])
		return cmds
	}
	pipe := b.w.client.Pipeline()
	for _, cmd := range cmds {
		_ = pipe.Process(ctx, cmd)
	}
	_, _ = pipe.Exec(ctx) // every command has its own error
	return cmds
}

// settle calls done for each write, except for those that are tried again.
func (b *batcher) settle(batch []*lane, cmds []OnceCmd) {
	again := make([]bool, len(batch))
	for i, l := range batch {
		if l.sent[0].op == opDo {
			n := len(l.sent)
			again[i] = b.settleEach(l, cmds[:n])
			cmds = cmds[n:]
			continue
		}
		n := 1
		if l.expires() {
			n = 2
		}
		again[i] = b.settleRun(l.sent, cmds[0])
		cmds = cmds[n:]
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, l := range batch {
		switch {
		case again[i]:
			b.parkLocked(l)
		case len(l.writes) > l.head:
			l.release()
			if !b.closed {
				b.makeReadyLocked(l)
			}
		default:
			b.endLaneLocked(l)
		}
	}
}

// settleEach settles a lane whose writes had a command each. It keeps for another try
// the refused writes after the last one that Redis carried out. Those before it are
// refused for good: tried again, they would come out of order.
func (b *batcher) settleEach(l *lane, cmds []OnceCmd) (again bool) {
	n := len(cmds)
	for n > 0 && FateOf(cmds[n-1].Err()) == Unsent {
		n--
	}
	for i, cmd := range cmds[:n] {
		if err := cmd.Err(); FateOf(err) == Unsent {
			b.w.finish(l.sent[i], 0, err)
			continue
		}
		b.settleRun(l.sent[i:i+1], cmd)
	}
	if n == len(cmds) {
		return false
	}
	l.sent = slices.Delete(l.sent, 0, n)
	return b.settleRun(l.sent, cmds[n])
}

// settleRun settles the writes that shared one command, or reports that they are to be
// tried again.
func (b *batcher) settleRun(sent []write, cmd OnceCmd) (again bool) {
	err := cmd.Err()
	switch FateOf(err) {
	case Unsent:
		b.w.stats.retried.Add(int64(len(sent)))
		b.w.trouble.Store(&err)
		b.w.warn(err)
		return true
	case Unknown:
		cause := err
		b.w.trouble.Store(&cause)
		err = fmt.Errorf("%w: %w", ErrIndeterminate, Normalize(context.Background(), err))
	case Finished:
		err = ErrClosed
	case Settled:
		if b.w.trouble.Load() != nil {
			b.w.trouble.Store(nil)
		}
		b.w.stats.written.Add(int64(len(sent)))
	}
	n, _ := cmd.Val().(int64)
	for i, wr := range sent {
		length := n
		if wr.op == opPush && err == nil {
			length -= int64(len(sent) - 1 - i) // without the elements pushed after it
		}
		b.w.finish(wr, length, err)
	}
	return false
}

// release clears the sent writes.
func (l *lane) release() {
	clear(l.sent)
	l.sent, l.tries = l.sent[:0], 0
}

// parkLocked puts the sent writes back at the head of their lane, and the lane aside for
// a while.
func (b *batcher) parkLocked(l *lane) {
	l.writes, l.head = slices.Concat(l.sent, l.writes[l.head:]), 0
	pause := Backoff(l.tries)
	tries := l.tries + 1
	l.release()
	l.tries = tries
	time.AfterFunc(pause, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.lanes[l.key] == l && !b.closed {
			b.makeReadyLocked(l)
		}
	})
}

// close lets the batch under way end and gives ErrClosed to all other writes.
func (b *batcher) close() {
	b.mu.Lock()
	b.closed = true
	for b.busy {
		b.idle.Wait()
	}
	var left []write
	for key, l := range b.lanes {
		left = append(left, l.writes[l.head:]...)
		delete(b.lanes, key)
	}
	b.mu.Unlock()
	for _, wr := range left {
		b.w.finish(wr, 0, ErrClosed)
	}
}
