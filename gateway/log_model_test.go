package gateway

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// A log does what a plain slice of all messages does.
func TestALogIsASlice(t *testing.T) {
	t.Parallel()
	for seed := range uint64(2000) {
		model(t, seed)
		if t.Failed() {
			return
		}
	}
}

// said is what a test knows of a message.
type said struct {
	key  string
	size int
}

// cursor is a follower of the test.
type cursor struct {
	at      uint64
	got     int // the number of the last message
	lost    int // since then
	excused bool
}

func model(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 1))
	conflate := rng.IntN(2) == 0
	limits := Limits{LogMessages: 1 + rng.IntN(12), LogBytes: 300 * (1 + rng.IntN(12))}
	ch := &channel{hub: &hub{h: &Handler{cfg: Config{Limits: limits}}}, name: "n", rule: &Channel{}, log: newLog(&limits, conflate)}
	l := &ch.log
	fail := func(format string, args ...any) { t.Errorf("seed %d: "+format, append([]any{seed}, args...)...) }

	const old = 100 // messages of the history, before the log
	var all []said
	say := func() { all = append(all, said{fmt.Sprint(rng.IntN(4)), messageBytes + rng.IntN(300)}) }
	for range old {
		say()
	}
	offset := func(i int) string { return fmt.Sprint("a:1-", i) }
	number := func(offset string) (n int) {
		_, err := fmt.Sscanf(offset, "a:1-%d", &n)
		require.NoError(t, err)
		return n
	}
	message := func(i int) (*Message, string) {
		return &Message{Content: make([]byte, all[i-1].size-messageBytes), Offset: offset(i)}, all[i-1].key
	}
	l.begin(offset(old))
	cursors := make([]*cursor, 3)
	for i := range cursors {
		cursors[i] = &cursor{at: l.next, got: old}
	}
	for range 60 {
		c := cursors[rng.IntN(len(cursors))]
		switch rng.IntN(7) {
		case 0, 1, 2: // a message
			say()
			m, key := message(len(all))
			ch.appendLocked(m, key)
		case 3: // a round
			_, to := l.read(nil, l.handed, 5, 1000)
			if to == l.handed {
				continue
			}
			l.beginRound()
			behind := to
			for _, c := range cursors {
				c.settle(l)
				behind = min(behind, c.at)
			}
			l.handed = max(l.handed, to)
			l.trim(behind, rng.IntN(4), 1000)
		case 4, 5: // a cursor reads
			c.settle(l)
			records, at := l.read(nil, c.at, 1+rng.IntN(5), 600)
			for _, r := range records {
				if r.m.kind == KindStatus {
					c.excused = true
					continue
				}
				n := number(r.m.Offset)
				if n <= c.got || !c.excused && !conflate && n-c.got-1 != c.lost {
					fail("%d after %d, lost %d", n, c.got, c.lost)
				}
				c.got, c.lost, c.excused = n, 0, false
			}
			if at < c.at {
				fail("a cursor went back")
			}
			c.at = at
		case 6: // a cursor resumes
			n := old - 10 + rng.IntN(len(all)-old+11)
			at, where := l.locate(offset(n))
			if base := l.base; where == older && base != "" {
				var before []record
				for i := n + 1; i <= number(base); i++ {
					m, key := message(i)
					before = append(before, record{m: m, key: key})
				}
				if l.prepend(before, offset(n), base) {
					if at, where = l.locate(offset(n)); where != inside || at < l.tail {
						fail("%d is not in the log: %d, tail %d", n, at, l.tail)
					}
				}
			}
			if where == inside {
				*c = cursor{at: at, got: n}
			}
		}
		check(fail, l)
	}
}

func (c *cursor) settle(l *log) {
	at, lost, gap := l.settle(c.at)
	c.at, c.lost, c.excused = at, c.lost+lost, c.excused || gap
}

// check checks what is always true of a log.
func check(fail func(string, ...any), l *log) {
	live, bytes, before := 0, 0, uint64(0)
	for i, r := range l.records {
		if i < l.head {
			if r.m != nil {
				fail("a message before the head")
			}
			continue
		}
		if r.at <= before {
			fail("positions do not rise")
		}
		before = r.at
		if r.m == nil {
			continue
		}
		if r.at < l.tail {
			fail("a message before the tail")
		}
		live, bytes = live+1, bytes+r.m.size()
		if l.keys != nil && r.m.kind != KindStatus && l.keys[r.key] != r.at {
			fail("a key is elsewhere")
		}
	}
	if live != l.live || bytes != l.bytes {
		fail("live %d, %d; bytes %d, %d", live, l.live, bytes, l.bytes)
	}
	if before >= l.next {
		fail("next %d after %d", l.next, before)
	}
	for key, at := range l.keys {
		if i := l.search(at); i >= len(l.records) || l.records[i].at != at || l.records[i].m == nil || l.records[i].key != key {
			fail("key %s at %d", key, at)
		}
	}
	if l.live > l.maxMessages+1 {
		fail("%d messages", l.live)
	}
}
