package redisio

import (
	"hash/maphash"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// A Writer sends the small writes of many goroutines to Redis, each at most once, in
// batches: one is under way, and writes that arrive meanwhile are the next. Writes for
// one key are carried out in order.
//
// Every method returns at once, and done is called exactly once, with the answer of
// Redis if that is a number. Done runs on the writer's goroutine, or on the caller's if
// the write is refused, and must not block. Its error is
//
//   - an error reply: Redis refused the write;
//   - the error of wanted: the write was not sent because it was no longer wanted.
//     The text has the reason for the wait (see [Because]);
//   - [ErrQueueFull] or [ErrClosed]: the write was not sent;
//   - [ErrIndeterminate]: the write may have happened.
type Writer struct {
	client   redis.UniversalClient
	batchers []*batcher
	seed     maphash.Seed

	maxQueued, maxBytes int64
	queued, bytes       atomic.Int64
	stats               writerStats

	trouble atomic.Pointer[error] // see Trouble

	log   *slog.Logger
	noise Throttle
}

type writerStats struct{ batches, written, retried, refused atomic.Int64 }

// WriterConfig says how a [Writer] reaches Redis and how much may wait in it.
type WriterConfig struct {
	// Client never retries ([Once] on a cluster). The writer closes it. Its failed
	// dials are marked by [MarkDials].
	Client redis.UniversalClient
	// MaxQueued is the number of writes that may wait.
	MaxQueued int
	// MaxBytes is the size that the waiting writes may have, in bytes.
	MaxBytes int
	// Logger receives what cannot be returned.
	Logger *slog.Logger
}

// WriterConns is the number of connections that a Writer may have to each server of a
// cluster, and the number of batches that it may have under way, so that a server that
// does not answer delays only a part of the traffic to the others. A single server has
// one connection and one batch at a time.
const WriterConns = 16

// NewWriter returns a writer, which starts no goroutine until it has something
// to write.
func NewWriter(cfg WriterConfig) *Writer {
	w := &Writer{
		client:    cfg.Client,
		seed:      maphash.MakeSeed(),
		maxQueued: int64(cfg.MaxQueued),
		maxBytes:  int64(cfg.MaxBytes),
		log:       cfg.Logger,
	}
	n := 1
	if _, ok := w.client.(*redis.ClusterClient); ok {
		n = WriterConns
	}
	for range n {
		w.batchers = append(w.batchers, newBatcher(w))
	}
	return w
}

// WriterStats is a snapshot of a [Writer].
type WriterStats struct {
	Queued      int64 `json:"queued"`       // writes that wait
	QueuedBytes int64 `json:"queued_bytes"` // bytes of the writes that wait
	Written     int64 `json:"written"`      // writes that Redis answered
	Batches     int64 `json:"batches"`      // batches sent
	Retried     int64 `json:"retried"`      // writes sent again because Redis had not carried them out
	Refused     int64 `json:"refused"`      // writes that got ErrQueueFull
}

// Stats returns a snapshot of the writer.
func (w *Writer) Stats() WriterStats {
	return WriterStats{
		Queued: w.queued.Load(), QueuedBytes: w.bytes.Load(),
		Written: w.stats.written.Load(), Batches: w.stats.batches.Load(),
		Retried: w.stats.retried.Load(), Refused: w.stats.refused.Load(),
	}
}

// Wanted reports by an error that a write is no longer wanted. Every [context.Context]
// is one. The writer calls Err before it sends the write.
type Wanted interface{ Err() error }

// Push appends elem to a list (RPUSH). Done gets the length of the list up to elem: 1 if
// the list is new.
func (w *Writer) Push(wanted Wanted, list string, elem []byte, done func(length int64, err error)) {
	w.add(list, write{wanted: wanted, op: opPush, elem: elem, bytes: len(elem), done: done})
}

// PushExpiring is Push to a list that has ttl to live from then on. Both are sent
// together, so that the list is not left without a time to live if the answer, or the
// process, is lost.
func (w *Writer) PushExpiring(wanted Wanted, list string, elem []byte, ttl time.Duration, done func(length int64, err error)) {
	w.add(list, write{wanted: wanted, op: opPush, elem: elem, ttl: ttl, bytes: len(elem), done: done})
}

// Append adds elem to a stream that exists (XADD NOMKSTREAM), in an entry whose fields
// are all named [StreamField]: elements that are written together share one entry. If
// the stream does not exist, done gets [redis.Nil].
func (w *Writer) Append(wanted Wanted, stream string, elem []byte, done func(n int64, err error)) {
	w.add(stream, write{wanted: wanted, op: opAppend, elem: elem, bytes: len(elem), done: done})
}

// StreamField is the name of all fields of entries by [Writer.Append].
const StreamField = "e"

// Publish publishes a message (PUBLISH, or SPUBLISH), in the order of those for
// its channel.
func (w *Writer) Publish(wanted Wanted, channel string, message []byte, sharded bool, done func(receivers int64, err error)) {
	command, lane := "publish", channel
	if sharded {
		command = "spublish"
	}
	if len(w.batchers) == 1 {
		lane = channels
	}
	args := []any{command, channel, message}
	w.add(lane, write{wanted: wanted, op: opDo, args: args, keyPos: 1, bytes: len(channel) + len(message), done: done})
}

// channels is the name of the lane of all messages to a single server: a lane for each of
// 10,000 channels cost a third more than one for all. No key has this name.
const channels = "\x00channels"

// Do carries out any other command whose first argument is the key.
func (w *Writer) Do(wanted Wanted, done func(n int64, err error), command, key string, args ...any) {
	all := append(make([]any, 0, 2+len(args)), command, key)
	w.do(key, write{wanted: wanted, args: append(all, args...), keyPos: 1, done: done})
}

// Eval runs a script, in order with the other writes for its first key. Done gets 0 if
// the result is no number.
func (w *Writer) Eval(wanted Wanted, done func(n int64, err error), script string, keys []string, args ...any) {
	// Not EVALSHA: if the server does not know the script, later writes would overtake
	// it while it is loaded.
	all := append(make([]any, 0, 3+len(keys)+len(args)), "eval", script, len(keys))
	for _, key := range keys {
		all = append(all, key)
	}
	w.do(keys[0], write{wanted: wanted, args: append(all, args...), keyPos: 3, done: done})
}

func (w *Writer) do(key string, wr write) {
	wr.op = opDo
	for _, arg := range wr.args {
		switch a := arg.(type) {
		case string:
			wr.bytes += len(a)
		case []byte:
			wr.bytes += len(a)
		}
	}
	w.add(key, wr)
}

func (w *Writer) add(key string, wr write) {
	queued, bytes := w.queued.Add(1), w.bytes.Add(wr.size())
	if queued > w.maxQueued || bytes > w.maxBytes {
		w.release(wr)
		w.stats.refused.Add(1)
		wr.done(0, ErrQueueFull)
		return
	}
	b := w.batchers[0]
	if len(w.batchers) > 1 {
		b = w.batchers[maphash.String(w.seed, key)%uint64(len(w.batchers))]
	}
	if !b.add(key, wr) {
		w.finish(wr, 0, ErrClosed)
	}
}

// Trouble returns the error of the last batch if Redis could not take it, such as a
// failed dial, and nil once Redis takes one again.
func (w *Writer) Trouble() error {
	if err := w.trouble.Load(); err != nil {
		return *err
	}
	return nil
}

// warn logs that Redis takes no writes. The errors of waiting writes come later, when
// their contexts end.
func (w *Writer) warn(err error) {
	w.noise.Warn(w.log, "storage: Redis takes no writes, trying again", "error", err)
}

// finish settles a write that was let in.
func (w *Writer) finish(wr write, n int64, err error) {
	w.release(wr)
	wr.done(n, err)
}

func (w *Writer) release(wr write) {
	w.queued.Add(-1)
	w.bytes.Add(-wr.size())
}

// Close waits for the batches under way, gives [ErrClosed] to all other writes
// and closes the client.
func (w *Writer) Close() error {
	for _, b := range w.batchers {
		b.close()
	}
	return w.client.Close()
}
