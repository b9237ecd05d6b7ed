package pubsub

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/internal/redisio"
)

// History says how many messages of a topic are kept in Redis: the last Size
// messages that are younger than TTL. A message is kept and published in one step.
//
// A subscription with [OverflowEnd] or [OverflowBlock] fills its gaps from the
// history. If the history does not reach back far enough, or was lost, it receives
// a [*GapError] instead. A gap is never filled in part.
type History struct {
	// Size is the number of messages. Defaults to 1,000.
	Size int

	// TTL is the age at which messages are removed. Defaults to 1 hour.
	TTL time.Duration
}

func (h History) zero() bool { return h == History{} }

func (h History) complete() (History, error) {
	h.Size, h.TTL = cmp.Or(h.Size, 1000), cmp.Or(h.TTL, time.Hour)
	switch {
	case h.Size < 0:
		return h, fmt.Errorf("History.Size: %d is negative", h.Size)
	case h.TTL < time.Millisecond:
		return h, fmt.Errorf("History.TTL: %v is less than a millisecond", h.TTL)
	}
	return h, nil
}

// Offset is the position of a message in the history of its topic, for
// SubscribeOptions.After and [Recall], also in another process.
type Offset string

// place is a parsed Offset.
type place struct {
	epoch string // of the history; places of different epochs can't be compared
	ms    uint64 // when the message was published, in Redis time
	n     uint64 // its number in the epoch, from 1 on
}

func parseOffset(o Offset) (place, error) {
	epoch, id, ok := strings.Cut(string(o), ":")
	p, err := parseID(epoch, id)
	if !ok || epoch == "" && p != (place{}) || err != nil {
		return place{}, fmt.Errorf("%.60q is not an offset", string(o))
	}
	return p, nil
}

func parseID(epoch, id string) (place, error) {
	ms, n, _ := strings.Cut(id, "-")
	p := place{epoch: epoch}
	var err, err2 error
	p.ms, err = strconv.ParseUint(ms, 10, 64)
	p.n, err2 = strconv.ParseUint(n, 10, 64)
	return p, errors.Join(err, err2)
}

func (p place) id() string { return strconv.FormatUint(p.ms, 10) + "-" + strconv.FormatUint(p.n, 10) }

func (p place) offset() Offset { return Offset(p.epoch + ":" + p.id()) }

// publishScript stores a message and publishes it after its offset. A history whose
// head is lost begins a new epoch.
//
// KEYS: stream, meta. ARGV: channel, command, payload, size, TTL in ms, a new
// epoch.
const publishScript = `
local head = redis.call('HMGET', KEYS[2], 'epoch', 'n', 'ms')
local epoch, n, ms = head[1], tonumber(head[2]), tonumber(head[3])
if not epoch then
  redis.call('DEL', KEYS[1])
  epoch, n, ms = ARGV[6], 0, 0
end
local time = redis.call('TIME')
ms = math.max(ms, time[1] * 1000 + math.floor(time[2] / 1000))
n = n + 1
local id = string.format('%.0f-%.0f', ms, n)
redis.call('XADD', KEYS[1], 'MAXLEN', ARGV[4], id, 'p', ARGV[3])
redis.call('XTRIM', KEYS[1], 'MINID', string.format('%.0f', ms - ARGV[5]))
redis.call('PEXPIRE', KEYS[1], ARGV[5])
redis.call('HSET', KEYS[2], 'epoch', epoch, 'n', string.format('%.0f', n), 'ms', string.format('%.0f', ms))
redis.call('PEXPIRE', KEYS[2], ARGV[5] + 86400000)
return redis.call(ARGV[2], ARGV[1], epoch .. ':' .. id .. ' ' .. ARGV[3])
`

// historyKeys returns the keys of the messages and of their head. The head expires a day
// later than the messages, so that a subscriber that has seen all of them learns that it
// has missed none.
func (c *Client) historyKeys(s spec) (stream, meta string) {
	stream, err := c.pool.Key("pubsub", redisio.HashTag(s.name), "log")
	if err != nil {
		panic(err) // the name was checked
	}
	return stream, strings.TrimSuffix(stream, "log") + "head"
}

// item is delivered to a consumer: a packet, or what a history has in its place.
type item struct {
	p      *packet
	body   []byte // the encoded value
	offset Offset
	gap    *GapError
	err    error // in place of body
}

// unpack splits a payload of [publishScript] into offset and value.
func unpack(p *packet) (item, place, error) {
	head, body, ok := bytes.Cut(p.payload, []byte{' '})
	at, err := parseOffset(Offset(head))
	if !ok || err != nil {
		return item{p: p}, place{}, fmt.Errorf("%w: the topic is subscribed to with a history, and this message was published without: %.60q", ErrHistoryMismatch, p.payload)
	}
	return item{p: p, body: body, offset: Offset(head)}, at, nil
}

// ErrHistoryMismatch is the error of a message whose publisher and subscriber do
// not agree on whether the topic has a history: use [Topic.WithHistory] on both
// sides or on neither.
var ErrHistoryMismatch = errors.New("pubsub: history mismatch")

// epochLen is the length of an epoch that [publishScript] is given.
const epochLen = 10

// hasOffset reports whether a payload begins as publishScript begins it.
func hasOffset(payload []byte) bool {
	if len(payload) <= epochLen || payload[epochLen] != ':' {
		return false
	}
	for _, c := range payload[:epochLen] {
		if (c < 'A' || c > 'Z') && (c < '2' || c > '7') { // base32, by rand.Text
			return false
		}
	}
	head, _, ok := bytes.Cut(payload[:min(len(payload), maxOffset+1)], []byte{' '})
	if !ok {
		return false
	}
	_, err := parseOffset(Offset(head))
	return err == nil
}

// maxOffset is the length of the longest offset: an epoch and two uint64.
const maxOffset = epochLen + 1 + 20 + 1 + 20

var (
	errTrimmed = errors.New("the history does not reach back so far")
	errEpoch   = errors.New("the history was lost, or there was none yet")
	errTooMuch = errors.New("what is missing is more than SubscribeOptions.MaxMessages or MaxBytes")

	// errDiverged: replication is asynchronous, and until the clients know of the other
	// primary they publish at both.
	errDiverged = errors.New("another primary has the history now, without the last messages of the one before")
)

// isUnfillable reports whether an error says that a history can't fill a gap.
func isUnfillable(err error) bool {
	return errors.Is(err, errTrimmed) || errors.Is(err, errEpoch) || errors.Is(err, errTooMuch) || errors.Is(err, errDiverged)
}

// tracker follows a topic's history for one subscription.
type tracker struct {
	c     *Client
	spec  spec
	opts  SubscribeOptions
	begun chan struct{} // closed: the fields below are set, for the queue's goroutine

	at      place // of the last message
	known   bool  // at means something
	prelude []item
}

// page is how many messages are read from a history at once.
const page = 128

// insist asks Redis until it answers, or ctx ends. It waits out refusals that pass.
func insist(ctx context.Context, ask func() error) error {
	for try := 0; ; try++ {
		err := ask()
		var reply redis.Error
		switch {
		case err == nil, isUnfillable(err), errors.Is(err, redis.ErrClosed):
			return err
		case errors.As(err, &reply) && !redisio.Passing(err):
			return err
		case ctx.Err() != nil:
			return redisio.Because(ctx.Err(), err)
		}
		if !redisio.Sleep(ctx, redisio.Backoff(try)) {
			return redisio.Because(ctx.Err(), err)
		}
	}
}

// head returns the place of the last message that was published; zero: none was.
func (t *tracker) head(ctx context.Context) (at place, err error) {
	_, meta := t.c.historyKeys(t.spec)
	err = insist(ctx, func() error {
		values, err := t.c.pool.Redis().HMGet(ctx, meta, "epoch", "n", "ms").Result()
		if err == nil {
			at, err = readHead(values)
		}
		return redisio.Normalize(ctx, err)
	})
	return at, err
}

func readHead(values []any) (place, error) {
	if len(values) != 3 || values[0] == nil {
		return place{}, nil
	}
	epoch, _ := values[0].(string)
	n, _ := values[1].(string)
	ms, _ := values[2].(string)
	return parseID(epoch, ms+"-"+n)
}

// since returns all messages after from, or an error that isUnfillable. A from without
// epoch dates from when there was no history. One may have begun and ended since, so
// the messages that exist may not be all. For a replay they are returned anyway.
func (t *tracker) since(ctx context.Context, from place, replay bool) (items []item, at place, err error) {
	stream, meta := t.c.historyKeys(t.spec)
	size := 0
	for at = from; ; {
		var head *redis.SliceCmd
		var oldest, entries *redis.XMessageSliceCmd
		_, err := t.c.pool.Redis().TxPipelined(ctx, func(tx redis.Pipeliner) error {
			head = tx.HMGet(ctx, meta, "epoch", "n", "ms")
			oldest = tx.XRangeN(ctx, stream, "-", "+", 1)
			entries = tx.XRangeN(ctx, stream, at.id(), "+", page+1) // the message at at, too
			return nil
		})
		if err != nil {
			return nil, from, redisio.Normalize(ctx, err)
		}
		last, err := readHead(head.Val())
		list := entries.Val()
		kept := len(list) > 0 && list[0].ID == at.id()
		if kept {
			list = list[1:]
		}
		switch {
		case err != nil:
			return nil, from, err
		case at.epoch == "" && !replay:
			return nil, from, errEpoch
		case at.epoch == "" && len(list) == 0:
			return nil, last, nil
		case at.epoch == "":
			first, err := parseID(last.epoch, list[0].ID)
			if err != nil {
				return nil, from, err
			}
			at = place{epoch: last.epoch, n: first.n - 1}
		case at.epoch != last.epoch:
			return nil, from, errEpoch
		case at.n > last.n, at.n == last.n && at.ms != last.ms:
			return nil, from, errDiverged
		case !kept && len(oldest.Val()) > 0:
			first, err := parseID(last.epoch, oldest.Val()[0].ID)
			if err != nil {
				return nil, from, err
			}
			if first.n <= at.n { // it is not too old, but another message has its number
				return nil, from, errDiverged
			}
		}
		for _, entry := range list {
			next, err := parseID(last.epoch, entry.ID)
			if err != nil {
				return nil, from, err
			}
			if next.n != at.n+1 {
				return nil, from, errTrimmed
			}
			at = next
			text, _ := entry.Values["p"].(string)
			body := []byte(text)
			items = append(items, item{p: &packet{channel: t.spec.name, payload: body}, body: body, offset: next.offset()})
			size += len(body)
		}
		if len(items) > t.opts.MaxMessages || size > t.opts.MaxBytes {
			return nil, from, errTooMuch
		}
		if len(list) < page {
			if at.n < last.n {
				return nil, from, errTrimmed
			}
			return items, at, nil
		}
	}
}

// begin prepares the messages to be delivered before the first live one. It is called
// once Redis has confirmed the subscription.
func (t *tracker) begin(ctx context.Context, from place) (recovered bool, err error) {
	err = insist(ctx, func() error {
		var err error
		t.prelude, t.at, err = t.since(ctx, from, t.opts.After == "") // if that is empty, so was the history a moment ago
		return err
	})
	switch {
	case err == nil:
		t.known = true
		t.c.stats.recovered.Add(int64(len(t.prelude)))
		return true, nil
	case isUnfillable(err):
		t.prelude = []item{{gap: &GapError{Cause: err}}}
		return false, nil
	}
	return false, err
}

// follow turns a received packet into the items to be delivered.
func (t *tracker) follow(ctx context.Context, p *packet, hand func(item)) {
	select {
	case <-t.begun:
	case <-ctx.Done():
		return
	}
	for _, it := range t.prelude {
		hand(it)
	}
	t.prelude = nil
	if p.start {
		return
	}
	if p.gap != nil {
		t.fill(ctx, p.gap, hand)
		return
	}
	it, at, err := unpack(p)
	switch {
	case err != nil:
		it.err = err
		hand(it)
		return
	case !t.opts.Overflow.complete(): // of which some are left out, or moved
		hand(it)
		return
	case !t.known:
	case t.at.epoch == "" && at.n == 1: // the first ever
	case t.at.epoch != "" && at.epoch != t.at.epoch:
		hand(item{gap: &GapError{Cause: errEpoch}})
	case t.at.epoch != "" && at.n <= t.at.n && at.ms > t.at.ms:
		hand(item{gap: &GapError{Cause: errDiverged}})
	case at.n <= t.at.n:
		return // it was in what was recovered
	case at.n != t.at.n+1:
		t.fill(ctx, &GapError{Cause: errors.New("not all were received")}, hand)
		if t.known && at.n <= t.at.n {
			return
		}
	}
	t.at, t.known = at, true
	hand(it)
}

// fillTime bounds the time to read a history in order to fill a gap.
const fillTime = 10 * time.Second

// fill delivers the messages missed in a gap, or a GapError.
func (t *tracker) fill(ctx context.Context, gap *GapError, hand func(item)) {
	if t.known && gap.Dropped == 0 {
		asking, cancel := context.WithTimeout(ctx, fillTime)
		defer cancel()
		var items []item
		var at place
		err := insist(asking, func() (err error) {
			items, at, err = t.since(asking, t.at, false)
			return err
		})
		if err == nil {
			t.at = at
			t.c.stats.recovered.Add(int64(len(items)))
			for _, it := range items {
				hand(it)
			}
			return
		}
		gap = &GapError{Cause: fmt.Errorf("%w; %w", gap.Cause, err)}
	}
	t.known = false
	hand(item{gap: gap})
}
