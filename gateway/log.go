package gateway

import (
	"slices"
	"sort"

	"github.com/heliograph/heliograph/pubsub"
)

// log is the newest messages of a channel. Followers have a cursor in it each, the
// position of the message that they get next, so that a message is in memory once for
// all of them. A position is the number of a message; positions rise, with holes where
// SlowConflate has replaced a message.
//
// The log is bounded in bytes and messages. A message that makes room for a newer one is
// lost to the followers whose cursors it had not passed: settle counts how many. Messages
// that the fan-out has not handed out yet are never lost to some followers only: if they
// alone fill the log, they are all given up, in favour of a gap.
//
// Its methods are called with the lock of the channel.
type log struct {
	maxBytes, maxMessages int

	records []record // by position, from head on
	head    int
	bytes   int // size of the messages
	live    int // number of the messages
	next    uint64
	tail    uint64 // no message before it is in the log
	handed  uint64 // the fan-out has handed out what is before it

	// evicted are the positions of messages that made room for others since the round
	// before the last: up to then every follower has settled.
	evicted  []uint64
	settling int // evictions before the last round

	keys map[string]uint64 // with SlowConflate: the position of each key's message

	gap uint64 // the position after the last gap that was evicted

	// With a history: all messages after the offset base are in the log, and newest is
	// the offset of the last one. Unknown: empty.
	base, newest string
	arriving     string // messages up to this offset may come although base has them; empty: none
	unbroken     uint64 // no gap is at or after it
}

// record is a message in a log.
type record struct {
	at  uint64
	m   *Message // nil: a newer message of the same key has replaced it
	key string
}

// firstPosition leaves room for older messages of the history.
const firstPosition = 1 << 40

func newLog(l *Limits, conflate bool) log {
	made := log{maxBytes: l.LogBytes, maxMessages: l.LogMessages, next: firstPosition, tail: firstPosition, handed: firstPosition}
	if conflate {
		made.keys = make(map[string]uint64)
	}
	return made
}

// begun reports whether a message came after the log began: with a history, what came
// before is not for it.
func (l *log) begun(m *Message) bool {
	if l.arriving == "" || m.Offset == "" {
		return true
	}
	if covers(l.arriving, m.Offset) {
		return false
	}
	l.arriving = ""
	return true
}

// add appends a message, for which makeRoom has made room.
func (l *log) add(m *Message, key string) {
	if l.head > 32 && l.head > len(l.records)/2 {
		n := copy(l.records, l.records[l.head:])
		clear(l.records[n:])
		l.records, l.head = l.records[:n], 0
	}
	if m.kind == KindStatus {
		l.base, l.unbroken = "", l.next+1
	} else if l.keys != nil {
		l.keys[key] = l.next
	}
	if m.Offset != "" {
		l.newest = m.Offset
	}
	l.records = append(l.records, record{l.next, m, key})
	l.next++
	l.live++
	l.bytes += m.size()
}

// replace removes the message that a newer one of the same key replaces, and reports
// whether there was one.
func (l *log) replace(key string) bool {
	at, known := l.keys[key]
	if !known {
		return false
	}
	r := &l.records[l.search(at)]
	l.bytes -= r.m.size()
	l.live--
	r.m = nil
	if n := len(l.records) - l.head; n > 2*l.live+32 {
		l.records = slices.DeleteFunc(l.records[l.head:], func(r record) bool { return r.m == nil })
		l.head = 0
	}
	return true
}

// makeRoom evicts messages until there is room for one of a size. If not even all that
// were handed out suffice, the log gives up the rest as well, and returns their number.
func (l *log) makeRoom(size int) (givenUp int) {
	for l.live > 0 && (l.live >= l.maxMessages || l.bytes+size > l.maxBytes) {
		r := l.pop()
		switch {
		case r.m.kind == KindStatus:
			l.gap = r.at + 1
		case r.at < l.handed:
			l.evicted = append(l.evicted, r.at)
		default:
			givenUp++
			size = l.maxBytes // a gap excuses them all
		}
	}
	return givenUp
}

// pop removes the oldest message.
func (l *log) pop() record {
	for {
		r := l.records[l.head]
		l.records[l.head] = record{}
		l.head++
		l.tail = r.at + 1
		if r.m == nil {
			continue
		}
		l.live--
		l.bytes -= r.m.size()
		if at, known := l.keys[r.key]; known && at == r.at {
			delete(l.keys, r.key)
		}
		if r.m.Offset != "" && r.at >= l.unbroken {
			l.base = r.m.Offset
		}
		return r
	}
}

// trim removes messages before a position, but keeps the last ones: at most a number of
// messages and bytes.
func (l *log) trim(before uint64, messages, bytes int) {
	for (l.live > messages || l.bytes > bytes) && l.records[l.head].at < before {
		if l.records[l.head].m == nil {
			l.records[l.head] = record{}
			l.head++
			continue
		}
		l.pop()
	}
}

// search returns the index of the first record at or after a position.
func (l *log) search(at uint64) int {
	if l.head < len(l.records) && at <= l.records[l.head].at {
		return l.head
	}
	n := len(l.records) - l.head
	return l.head + sort.Search(n, func(i int) bool { return l.records[l.head+i].at >= at })
}

// read appends messages from a position on to a list, at most max of them and, after the
// first, of at most bytes. It returns the position after the last.
func (l *log) read(to []record, from uint64, max, bytes int) ([]record, uint64) {
	n := len(to)
	for _, r := range l.records[l.search(from):] {
		if r.m == nil {
			continue
		}
		bytes -= len(r.m.Content)
		if len(to)-n >= max || len(to) > n && bytes < 0 {
			return to, r.at
		}
		to = append(to, r)
	}
	return to, l.next
}

// settle returns the position that a cursor has if it was passed by the tail, how many
// messages were lost to it, and whether a gap was.
func (l *log) settle(at uint64) (now uint64, lost int, gap bool) {
	if at >= l.tail {
		return at, 0, false
	}
	i, _ := slices.BinarySearch(l.evicted, at)
	return l.tail, len(l.evicted) - i, at < l.gap
}

// beginRound is called before the fan-out visits all followers, each of which settles.
func (l *log) beginRound() {
	l.evicted = slices.Delete(l.evicted, 0, l.settling)
	l.settling = len(l.evicted)
}

// begin sets the offset after which all messages are in the log. The channel has no followers yet.
func (l *log) begin(base string) {
	last := -1
	for i := l.head; i < len(l.records); i++ {
		if r := l.records[i]; r.m != nil && r.m.Offset != "" && covers(base, r.m.Offset) {
			last = i
		}
	}
	for l.head <= last {
		l.pop()
	}
	if l.newest == "" || covers(base, l.newest) {
		l.newest, l.arriving = base, base
	}
	if l.unbroken <= l.tail {
		l.base = base
	}
}

// place is where an offset is.
type place uint8

const (
	inside place = iota // the log has all messages after it
	older               // the log has no longer, or never had, all messages after it
	ahead               // newer than all messages in the log
)

// noHistory is the offset of a history without messages. It belongs to no epoch: any message
// that comes later is after it.
const noHistory = ":0-0"

// locate returns the position of the first message after an offset.
func (l *log) locate(since string) (at uint64, p place) {
	records := l.records[l.search(l.unbroken):]
	first := l.base
	if first == noHistory && since != noHistory { // then the first message tells the epoch
		first = ""
	}
	for i := 0; first == "" && i < len(records); i++ {
		if records[i].m != nil {
			first = records[i].m.Offset
		}
	}
	switch {
	case first == "" && l.base == noHistory:
		return 0, ahead
	case first == "" || !covers(since, first):
		return 0, older
	case since != l.newest && covers(since, l.newest):
		return 0, ahead
	}
	i := sort.Search(len(records), func(i int) bool {
		for _, r := range records[i:] {
			if r.m != nil && r.m.Offset != "" {
				return since == noHistory || pubsub.Offset(since).Before(pubsub.Offset(r.m.Offset))
			}
		}
		return true
	})
	if before := offsetIn(records[:i], l.base); before != since && !pubsub.Offset(before).Before(pubsub.Offset(since)) {
		return 0, older // another primary has given its number to another message
	}
	if i == len(records) {
		return l.next, inside
	}
	return records[i].at, inside
}

// offsetBefore returns the offset of the last message before a position; empty: unknown.
func (l *log) offsetBefore(at uint64) string {
	return offsetIn(l.records[l.head:l.search(at)], l.base)
}

// offsetIn returns the offset of the last of the records that has one, or else base.
func offsetIn(records []record, base string) string {
	for _, r := range slices.Backward(records) {
		if r.m != nil && r.m.Offset != "" {
			return r.m.Offset
		}
	}
	return base
}

// back returns the position of the n-th last message.
func (l *log) back(n int) uint64 {
	at := l.next
	for i := len(l.records) - 1; i >= l.head && n > 0; i-- {
		if r := l.records[i]; r.m != nil && r.m.kind != KindStatus {
			at = r.at
			n--
		}
	}
	return at
}

// since returns the number and the size of the messages from a position on.
func (l *log) since(at uint64) (n, size int) {
	for _, r := range l.records[l.search(at):] {
		if r.m != nil {
			n, size = n+1, size+len(r.m.Content)
		}
	}
	return n, size
}

// prepend adds all messages between the offset since and base, if there is room for them.
func (l *log) prepend(missed []record, since, base string) bool {
	size := 0
	for _, r := range missed {
		size += r.m.size()
	}
	switch {
	case l.base != base, l.unbroken > l.tail, len(l.evicted) > 0, !pubsub.Offset(since).Before(pubsub.Offset(base)):
		return false // they don't end where the log begins
	case l.bytes+size > l.maxBytes, l.live+len(missed) > l.maxMessages:
		return false
	}
	before := make([]record, 0, len(missed)+len(l.records)-l.head)
	for _, r := range slices.Backward(missed) {
		if l.keys != nil {
			if _, replaced := l.keys[r.key]; replaced {
				continue
			}
			l.keys[r.key] = l.tail - 1
		}
		l.tail--
		r.at = l.tail
		before = append(before, r)
		l.bytes += r.m.size()
		l.live++
	}
	slices.Reverse(before)
	l.records, l.head, l.base = append(before, l.records[l.head:]...), 0, since
	return true
}
