package gateway_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/gateway"
	"github.com/heliograph/heliograph/pubsub"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// narrow returns a dialer of sockets with a receive buffer of a size in bytes.
func narrow(size int) ws.Dialer {
	return ws.Dialer{NetDial: func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		if err == nil {
			err = conn.(*net.TCPConn).SetReadBuffer(size)
		}
		return conn, err
	}}
}

// A client may take longer to read a snapshot than a command may take.
func TestALargeSnapshotOnASlowLink(t *testing.T) {
	t.Parallel()
	storagetest.Long(t)
	const command = 10 * time.Second // a loaded machine may take seconds to read the hash
	pool := storagetest.New(t)
	cfg := anything
	cfg.Limits = gateway.Limits{Command: command, Write: time.Minute, Bytes: 64 << 20, QueueBytes: 64 << 10}
	h, url := serve(t, pool, cfg)
	for i := range 100 {
		require.NoError(t, pool.Redis().HSet(t.Context(), key(t, pool, "news"), i, bulk(i)).Err())
	}
	conn, _, _, err := narrow(1<<20).Dial(t.Context(), url) // with a buffer smaller than a packet the rest would crawl
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, ws.WriteFrame(conn, ws.MaskFrame(ws.NewTextFrame([]byte("SUB news snapshot=1")))))
	require.Eventually(t, func() bool { return h.Stats().Subscriptions == 1 }, patience, time.Millisecond)
	begun := time.Now()
	require.Eventually(t, func() bool { return time.Since(begun) > command+time.Second }, patience, 10*time.Millisecond)
	contents, code := sleeper{conn, conn}.wake(t, `{"status": "subscribed"`)
	require.Zero(t, code)
	values := slices.DeleteFunc(contents, func(s string) bool { return strings.HasPrefix(s, "{") }) // without statuses
	require.Len(t, values, 100)
	require.Zero(t, h.Stats().Errors)
}

// hold is a command after which the first value of a snapshot waits for a channel.
func hold(held <-chan struct{}) gateway.Command {
	return gateway.Command{Run: func(_ context.Context, c *gateway.Conn, _ gateway.Request) error {
		c.SetFilter("hold", func(m *gateway.Message) *gateway.Message {
			if string(m.Content) == `"state"` {
				<-held
			}
			return m
		})
		return nil
	}}
}

// While a snapshot is sent, a conflated channel keeps the newest message of each key.
func TestAConflatedChannelDuringASnapshot(t *testing.T) {
	t.Parallel()
	pool, held := storagetest.New(t), make(chan struct{})
	h, url := serve(t, pool, gateway.Config{
		Channels: []gateway.Channel{{Pattern: "news", Slow: gateway.SlowConflate, Key: func(content []byte) string { return string(content[len(content)-1:]) }}},
		Keys:     []string{"news"}, Limits: gateway.Limits{LogMessages: 20}, Commands: map[string]gateway.Command{"HOLD": hold(held)},
	})
	require.NoError(t, pool.Redis().HSet(t.Context(), key(t, pool, "news"), "s", `"state"`).Err())
	fast, b := open(t, url), open(t, url)
	require.Empty(t, fast.does("SUB news"))
	b.send("HOLD")
	b.send("SUB news snapshot=1")
	require.Eventually(t, func() bool { return h.Stats().Subscriptions == 2 }, patience, time.Millisecond)
	for i := range 100 {
		require.NoError(t, pool.Redis().Publish(t.Context(), key(t, pool, "news"), i).Err())
		require.Equal(t, strconv.Itoa(i), fast.from("news"))
	}
	close(held)
	require.Equal(t, `"state"`, b.from("news"))
	require.Equal(t, "subscribed", b.news().Status)
	for i := 90; i < 100; i++ {
		require.Equal(t, strconv.Itoa(i), b.from("news"))
	}
	require.EqualValues(t, 90, h.Stats().Conflated)
	require.Zero(t, h.Stats().Dropped)
}

// Clients that come at once share one read of the hash, and miss nothing that follows it.
func TestASnapshotIsOneReadForAll(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		cfg := anything
		cfg.Limits.SnapshotAge = time.Minute
		h, url := serve(t, pool, cfg)
		name := key(t, pool, "news")
		require.NoError(t, pool.Redis().HSet(t.Context(), name, "f", "0").Err())
		marks := pool.Redis().PSubscribe(t.Context(), "*:mark:*")
		defer marks.Close()
		_, err := marks.Receive(t.Context())
		require.NoError(t, err)
		seen := marks.Channel()
		all := make([]*browser, 100)
		for i := range all {
			all[i] = open(t, url)
		}
		for i, b := range all {
			b.send("SUB news snapshot=1")
			require.Equal(t, "0", b.from("news"))
			require.Equal(t, "subscribed", b.news().Status)
			for n := 1; n <= i/10; n++ { // what came since
				require.Equal(t, strconv.Itoa(n), b.from("news"))
			}
			if i%10 == 9 {
				require.NoError(t, pool.Redis().Publish(t.Context(), name, i/10+1).Err())
				require.Equal(t, strconv.Itoa(i/10+1), b.from("news"))
			}
		}
		require.Eventually(t, func() bool { return len(seen) == 1 }, patience, time.Millisecond)
		require.Zero(t, h.Stats().Slow)

		for _, age := range []time.Duration{-1, time.Nanosecond} {
			cfg.Limits.SnapshotAge = age
			_, url = serve(t, pool, cfg)
			for i := range 5 {
				b := open(t, url)
				require.NoError(t, pool.Redis().HSet(t.Context(), name, "f", i).Err())
				b.send("SUB news snapshot=1")
				require.Equal(t, strconv.Itoa(i), b.from("news"))
			}
		}
	})
}

// scribe is a source with a history whose messages the test publishes.
type scribe struct {
	tap
	all      []gateway.Publication
	recalled atomic.Int64
}

func (s *scribe) publish(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for range n {
		i := len(s.all) + 1
		p := gateway.Publication{Data: []byte(strconv.Itoa(i)), Offset: fmt.Sprint("a:1-", i)}
		s.all = append(s.all, p)
		if s.deliver != nil {
			s.deliver(p)
		}
	}
}

func (s *scribe) Recall(_ context.Context, _, since string) (missed []gateway.Publication, newest string, complete bool, err error) {
	s.recalled.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	newest = fmt.Sprint("a:1-", len(s.all))
	for _, p := range s.all {
		if since != "" && pubsub.Offset(since).Before(pubsub.Offset(p.Offset)) {
			missed = append(missed, p)
		}
	}
	return missed, newest, true, nil
}

// A recent offset is resumed from the log. Of the history each message is read once, and
// passes the hooks once.
func TestMessagesOfTheLogAreNotReadAgain(t *testing.T) {
	t.Parallel()
	source, hooked := &scribe{}, atomic.Int64{}
	cfg := gateway.Config{Channels: []gateway.Channel{{Pattern: "log", History: &pubsub.History{}}}, Source: source}
	cfg.Hooks = []gateway.Hooks{{Publication: func(_ *gateway.Handler, m *gateway.Message) *gateway.Message { hooked.Add(1); return m }}}
	_, url := serve(t, storagetest.New(t), cfg)
	resume := func(since, last int) {
		b := open(t, url)
		b.send(fmt.Sprint("SUB log since=a:1-", since))
		s := b.news()
		require.True(t, *s.Recovered)
		require.Equal(t, fmt.Sprint("a:1-", since), s.Offset, "the missed messages have not come yet")
		for i := since + 1; i <= last; i++ {
			e := b.next()
			require.Equal(t, strconv.Itoa(i), string(e.Content))
			require.Equal(t, fmt.Sprint("a:1-", i), e.Offset)
		}
		require.Empty(t, b.does("DEL log"))
	}
	source.publish(10) // before any client follows
	b := open(t, url)
	b.send("SUB log")
	require.Equal(t, "a:1-10", b.news().Offset)
	source.publish(10)
	for i := 11; i <= 20; i++ {
		require.Equal(t, strconv.Itoa(i), b.from("log"))
	}
	require.EqualValues(t, 1, source.recalled.Load(), "where the log begins")
	for _, since := range []int{10, 15, 20, 11} {
		resume(since, 20)
	}
	require.EqualValues(t, 1, source.recalled.Load())
	require.EqualValues(t, 10, hooked.Load())
	for _, since := range []int{5, 5, 7, 2, 3, 10} {
		resume(since, 20)
	}
	require.EqualValues(t, 3, source.recalled.Load(), "for 5 and for 2")
	require.EqualValues(t, 18, hooked.Load())
	resume(25, 20) // of another process that is ahead
	source.publish(1)
	require.Equal(t, "21", b.from("log"))
}

// The log goes on while older messages are read from the history.
func TestTheHistoryIsReadWhileTheLogGoesOn(t *testing.T) {
	t.Parallel()
	source := &scribe{}
	cfg := gateway.Config{Channels: []gateway.Channel{{Pattern: "log", History: &pubsub.History{}}}, Source: source, Limits: gateway.Limits{LogMessages: 40}}
	var follower *browser
	published := 0
	publish := func(n int) {
		for range n {
			source.publish(1)
			published++
			require.Equal(t, strconv.Itoa(published), follower.from("log"))
		}
	}
	cfg.Hooks = []gateway.Hooks{{Publication: func(_ *gateway.Handler, m *gateway.Message) *gateway.Message {
		if string(m.Content) == "6" { // recalled
			publish(5)
		}
		return m
	}}}
	_, url := serve(t, storagetest.New(t), cfg)
	follower = open(t, url)
	source.publish(10)
	published = 10
	follower.send("SUB log")
	require.Equal(t, "a:1-10", follower.news().Offset)
	publish(15)
	b := open(t, url)
	b.send("SUB log since=a:1-5")
	require.True(t, *b.news().Recovered)
	for i := 6; i <= 30; i++ {
		require.Equal(t, strconv.Itoa(i), b.from("log"))
	}
}

func TestRewind(t *testing.T) {
	t.Parallel()
	pool := storagetest.New(t)
	_, url := serve(t, pool, gateway.Config{Channels: []gateway.Channel{{Pattern: "news", Rewind: 3}, {Pattern: "other"}}})
	first, b := open(t, url), open(t, url)
	require.Empty(t, first.does("SUB news"))
	for i := range 5 {
		require.NoError(t, pool.Redis().Publish(t.Context(), key(t, pool, "news"), i).Err())
		require.Equal(t, strconv.Itoa(i), first.from("news"))
	}
	for rewind, from := range map[int]int{0: 5, 1: 4, 2: 3, 3: 2, 100: 2} {
		b.send(fmt.Sprint("SUB news rewind=", rewind))
		require.Equal(t, "subscribed", b.news().Status)
		for i := from; i < 5; i++ {
			require.Equal(t, strconv.Itoa(i), b.from("news"))
		}
	}
	require.NoError(t, pool.Redis().Publish(t.Context(), key(t, pool, "news"), 5).Err())
	require.Equal(t, "5", b.from("news"))
	for _, bad := range []string{"", "x", "-1", "1 since=a:1-1", "1 snapshot=1"} {
		require.Equal(t, gateway.CodeBadCommand, b.does("SUB news rewind="+bad), bad)
	}
	require.Equal(t, gateway.CodeForbidden, b.does("SUB other rewind=1"))
}

// A client that follows a channel alone, and asks for the last messages, has not left it.
func TestRewindOfTheOnlyFollower(t *testing.T) {
	t.Parallel()
	pool := storagetest.New(t)
	_, url := serve(t, pool, gateway.Config{Channels: []gateway.Channel{{Pattern: "news", Rewind: 3}}})
	b := open(t, url)
	require.Empty(t, b.does("SUB news"))
	for i := range 5 {
		require.NoError(t, pool.Redis().Publish(t.Context(), key(t, pool, "news"), i).Err())
		require.Equal(t, strconv.Itoa(i), b.from("news"))
	}
	b.send("SUB news rewind=2")
	require.Equal(t, "subscribed", b.news().Status)
	require.Equal(t, "3", b.from("news"))
	require.Equal(t, "4", b.from("news"))
}

// A message that many clients don't read is in memory once.
func TestALargeMessageIsInMemoryOnce(t *testing.T) {
	storagetest.Long(t) // not parallel: it measures the memory of the process
	const sockets, size = 100, 8 << 20
	source := &scribe{}
	h, url := serve(t, storagetest.New(t), gateway.Config{
		Channels: []gateway.Channel{{Pattern: "log", History: &pubsub.History{}}}, Source: source, Limits: gateway.Limits{Write: time.Minute, LogBytes: 64 << 20},
	})
	for range sockets {
		conn, _, _, err := narrow(4096).Dial(t.Context(), url)
		require.NoError(t, err)
		defer conn.Close()
		require.NoError(t, ws.WriteFrame(conn, ws.MaskFrame(ws.NewTextFrame([]byte("SUB log")))))
	}
	require.Eventually(t, func() bool { return h.Stats().Subscriptions == sockets }, patience, time.Millisecond)
	used := func() int {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc)
	}
	before := used()
	source.mu.Lock()
	source.deliver(gateway.Publication{Data: []byte(`"` + strings.Repeat("x", size) + `"`), Offset: "a:1-1"})
	source.mu.Unlock()
	require.Eventually(t, func() bool { return h.Stats().Delivered == sockets }, patience, time.Millisecond)
	require.Less(t, used()-before, 3*size, "the content, and the frame")
}

// A client that subscribes while the subscription of the channel ends follows a new one.
func TestNoFollowerStaysInAChannelThatHasEnded(t *testing.T) {
	t.Parallel()
	srv := storagetest.Start(t)
	pool := storagetest.Open(t, srv.Config())
	h, url := serve(t, pool, gateway.Config{Channels: []gateway.Channel{{Pattern: "*", Presence: true}}})
	a, b := open(t, url), open(t, url)
	require.Empty(t, a.does("SUB news"))
	srv.Pause() // the presence of b has to wait
	b.send("SUB news ack=1")
	require.Eventually(t, func() bool { return h.Users("news") == 2 }, patience, time.Millisecond)
	h.EndSubscription("news")
	require.Eventually(t, func() bool { return len(h.Conns()) == 2 && h.Users("news") < 2 }, patience, time.Millisecond)
	srv.Resume()
	require.Equal(t, "unsubscribed", a.news().Status)
	require.Equal(t, "subscribed", b.news().Status)
	require.NoError(t, pool.Redis().Publish(t.Context(), key(t, pool, "news"), 1).Err())
	require.Equal(t, "1", b.from("news"))
}

// What is published faster than it can be handed out becomes a gap for all followers, and
// disconnects no client.
func TestABurstThatTheLogCanNotHold(t *testing.T) {
	t.Parallel()
	source, burst := &scribe{}, make(chan struct{})
	cfg := gateway.Config{Channels: []gateway.Channel{{Pattern: "log"}}, Source: source, Limits: gateway.Limits{LogMessages: 8}}
	cfg.Commands = map[string]gateway.Command{"FILTER": {Run: func(_ context.Context, c *gateway.Conn, _ gateway.Request) error {
		c.SetFilter("wait", func(m *gateway.Message) *gateway.Message { <-burst; return m })
		return nil
	}}}
	h, url := serve(t, storagetest.New(t), cfg)
	b := open(t, url)
	require.Empty(t, b.does("FILTER"))
	require.Empty(t, b.does("SUB log"))
	source.publish(100)
	close(burst)
	got, gaps := 0, 0
	for got != 100 {
		e := b.next()
		if e.Source == "websocket" {
			var s status
			require.NoError(t, json.Unmarshal(e.Content, &s))
			require.Equal(t, "gap", s.Status)
			gaps++
			continue
		}
		n, err := strconv.Atoi(string(e.Content))
		require.NoError(t, err)
		require.Greater(t, n, got)
		got = n
	}
	require.NotZero(t, gaps)
	require.NotZero(t, h.Stats().Overflowed)
	require.Zero(t, h.Stats().Slow)
}
