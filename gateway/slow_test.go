package gateway_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/gateway"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// sleeper is a client that reads nothing until it is woken.
type sleeper struct {
	net.Conn
	in io.Reader
}

func sleep(t testing.TB, url, command string) sleeper {
	t.Helper()
	conn, ahead, _, err := ws.Dial(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, ws.WriteFrame(conn, ws.MaskFrame(ws.NewTextFrame([]byte(command)))))
	if ahead != nil { // it came with the answer to the handshake
		return sleeper{conn, ahead}
	}
	return sleeper{conn, conn}
}

// wake returns what has come, until the content of the last begins so, or the
// connection ends.
func (s sleeper) wake(t testing.TB, last string) (contents []string, code gateway.CloseCode) {
	t.Helper()
	require.NoError(t, s.SetReadDeadline(time.Now().Add(20*time.Second)))
	for {
		f, err := readFrame(s.in)
		if err != nil {
			return contents, gateway.CloseAbnormal
		}
		if f.Header.OpCode == ws.OpClose {
			code, _ := ws.ParseCloseFrameData(f.Payload)
			return contents, gateway.CloseCode(code)
		}
		if f.Header.OpCode == ws.OpPing { // the machine is slow as well
			continue
		}
		_, content, _ := strings.Cut(string(f.Payload), `"content": `)
		content, _, _ = strings.Cut(content, `, "timestamp"`)
		if contents = append(contents, content); strings.HasPrefix(content, last) {
			return contents, 0
		}
	}
}

// bulk is a message that begins with a number.
func bulk(n int) string { return fmt.Sprintf(`"%d %s"`, n, strings.Repeat("x", 100_000)) }

func number(t testing.TB, content string) int {
	t.Helper()
	digits, _, _ := strings.Cut(strings.TrimPrefix(content, `"`), " ")
	n, err := strconv.Atoi(digits)
	require.NoError(t, err)
	return n
}

// One client reads nothing. It is disconnected; the others get everything.
func TestSlowIsDisconnected(t *testing.T) {
	t.Parallel()
	pool := storagetest.New(t)
	cfg := anything
	cfg.Limits.Write = 300 * time.Millisecond
	h, url := serve(t, pool, cfg)
	slow := sleep(t, url, "SUB news")
	b := open(t, url)
	b.send("SUB news ack=1")
	b.news()
	require.Eventually(t, func() bool { return h.Stats().Subscriptions == 2 }, 5*time.Second, time.Millisecond)
	for i := range 200 {
		require.NoError(t, pool.Redis().Publish(t.Context(), key(t, pool, "news"), bulk(i)).Err())
		require.Equal(t, i, number(t, b.from("news")))
	}
	require.Equal(t, int64(1), h.Stats().Slow)
	require.Eventually(t, func() bool { return h.Stats().Connections == 1 }, 5*time.Second, time.Millisecond)
	_, code := slow.wake(t, "never")
	require.NotZero(t, code)
}

// flood publishes until something was left out for a client that reads nothing, and then a
// last message. Another client gets each message before the next one is published.
func flood(t *testing.T, cfg gateway.Config, dropped func(gateway.Stats) int64) (h *gateway.Handler, contents []string, sent int) {
	pool := storagetest.New(t)
	h, url := serve(t, pool, cfg)
	slow, fast := sleep(t, url, "SUB news"), open(t, url)
	require.Empty(t, fast.does("SUB news"))
	require.Eventually(t, func() bool { return h.Stats().Subscriptions == 2 }, 5*time.Second, time.Millisecond)
	for ; sent < 1000 && dropped(h.Stats()) < 50; sent++ {
		require.NoError(t, pool.Redis().Publish(t.Context(), key(t, pool, "news"), bulk(sent)).Err())
		require.Equal(t, sent, number(t, fast.from("news")))
	}
	require.NoError(t, pool.Redis().Publish(t.Context(), key(t, pool, "news"), `"end"`).Err())
	require.Eventually(t, func() bool { return h.Stats().Published == int64(sent+1) }, 5*time.Second, time.Millisecond)
	contents, code := slow.wake(t, `"end"`)
	require.Zero(t, code)
	return h, contents[1:], sent
}

// What is dropped is counted where it is missing, to the last message.
func TestSlowLosesTheOldest(t *testing.T) {
	t.Parallel()
	cfg := gateway.Config{Channels: []gateway.Channel{{Pattern: "*", Slow: gateway.SlowDropOldest}}}
	cfg.Limits.Write = time.Minute
	h, contents, sent := flood(t, cfg, func(s gateway.Stats) int64 { return s.Dropped })
	next, lost := 0, 0
	for _, content := range contents[:len(contents)-1] {
		if strings.HasPrefix(content, `{"status": "lost"`) {
			_, count, _ := strings.Cut(content, `"count": `)
			n, err := strconv.Atoi(strings.TrimSuffix(count, "}"))
			require.NoError(t, err)
			next += n
			lost += n
			continue
		}
		require.Equal(t, next, number(t, content))
		next++
	}
	require.Equal(t, sent, next, "every message came or was counted")
	require.EqualValues(t, h.Stats().Dropped, lost)
	require.Zero(t, h.Stats().Slow)
}

// Of each key the newest message comes, and nothing older after it.
func TestSlowGetsTheNewest(t *testing.T) {
	t.Parallel()
	cfg := gateway.Config{Channels: []gateway.Channel{{Pattern: "*", Slow: gateway.SlowConflate, Key: func(content []byte) string {
		if len(content) < 100 {
			return "end"
		}
		_, last, _ := strings.Cut(string(content[:20]), " ")
		return last
	}}}}
	cfg.Limits.Write = time.Minute
	_, contents, sent := flood(t, cfg, func(s gateway.Stats) int64 { return s.Conflated })
	var numbers []int
	for _, content := range contents[:len(contents)-1] {
		numbers = append(numbers, number(t, content))
	}
	require.True(t, slices.IsSorted(numbers))
	require.Equal(t, sent-1, numbers[len(numbers)-1])
	require.Less(t, len(numbers), sent)
}

// A filter that is slower than the channel costs the others nothing.
func TestASlowFilterDoesNotHoldUpOthers(t *testing.T) {
	t.Parallel()
	const messages = 400
	source := &scribe{}
	cfg := gateway.Config{Channels: []gateway.Channel{{Pattern: "log", Slow: gateway.SlowDropOldest}}, Source: source, Limits: gateway.Limits{LogMessages: 64}}
	cfg.Commands = map[string]gateway.Command{"FILTER": {Run: func(_ context.Context, c *gateway.Conn, _ gateway.Request) error {
		c.SetFilter("slow", func(m *gateway.Message) *gateway.Message { time.Sleep(10 * time.Millisecond); return m })
		return nil
	}}}
	_, url := serve(t, storagetest.New(t), cfg)
	slow, fast := open(t, url), open(t, url)
	require.Empty(t, slow.does("FILTER"))
	require.Empty(t, slow.does("SUB log"))
	require.Empty(t, fast.does("SUB log"))
	go func() {
		for range messages {
			time.Sleep(2 * time.Millisecond)
			source.publish(1)
		}
	}()
	for i := 1; i <= messages; i++ {
		require.Equal(t, strconv.Itoa(i), fast.from("log"))
	}
}

// Answers are never dropped: a client that does not read them gets no more.
func TestAnswersWaitForTheClient(t *testing.T) {
	t.Parallel()
	pool := storagetest.New(t)
	cfg := anything
	cfg.Limits = gateway.Limits{Write: time.Minute, QueueBytes: 10_000, Commands: 1e9, CommandBurst: 1e9}
	_, url := serve(t, pool, cfg)
	name := key(t, pool, "big")
	for i := range 9 {
		require.NoError(t, pool.Redis().HSet(t.Context(), name, i, bulk(i)).Err())
	}
	slow := sleep(t, url, "PING")
	const times = 30
	go func() {
		for range times {
			_ = ws.WriteFrame(slow, ws.MaskFrame(ws.NewTextFrame([]byte("GET big"))))
		}
		_ = ws.WriteFrame(slow, ws.MaskFrame(ws.NewTextFrame([]byte("GET end"))))
	}()
	contents, code := slow.wake(t, "null")
	require.Zero(t, code)
	require.Equal(t, 3+times*9, len(contents))
}

// What comes while a snapshot is sent is in the log. Of more than that holds, the oldest is
// dropped and reported, or the client disconnected.
func TestMoreComesDuringASnapshotThanTheLogHolds(t *testing.T) {
	t.Parallel()
	for name, slow := range map[string]gateway.Slow{"drop": gateway.SlowDropOldest, "disconnect": gateway.SlowDisconnect} {
		t.Run(name, func(t *testing.T) {
			pool := storagetest.New(t)
			var fast *browser
			published := make(chan struct{})
			cfg := gateway.Config{
				Channels: []gateway.Channel{{Pattern: "news", Slow: slow}}, Keys: []string{"news"},
				Limits:   gateway.Limits{LogMessages: 10},
				Commands: make(map[string]gateway.Command),
			}
			// The filter of the snapshot's value holds the SUB until all is published.
			cfg.Commands["HOLD"] = gateway.Command{Run: func(_ context.Context, c *gateway.Conn, _ gateway.Request) error {
				c.SetFilter("hold", func(m *gateway.Message) *gateway.Message {
					if string(m.Content) == `"state"` {
						for i := range 100 {
							_ = pool.Redis().Publish(context.Background(), key(t, pool, "news"), i).Err()
							_ = fast.raw()
						}
						close(published)
					}
					return m
				})
				return nil
			}}
			require.NoError(t, pool.Redis().HSet(t.Context(), key(t, pool, "news"), "s", `"state"`).Err())
			_, url := serve(t, pool, cfg)
			fast = open(t, url)
			require.Empty(t, fast.does("SUB news"))
			b := open(t, url)
			b.send("HOLD")
			b.send("SUB news snapshot=1")
			if slow == gateway.SlowDisconnect {
				require.Equal(t, gateway.CloseSlow, b.closed())
				<-published
				return
			}
			require.Equal(t, `"state"`, b.from("news"))
			require.Equal(t, "subscribed", b.news().Status)
			first := b.news()
			require.Equal(t, "lost", first.Status)
			for i := first.Count; i < 100; { // and perhaps again, on the way out
				e := b.next()
				if e.Source == "news" {
					require.Equal(t, strconv.Itoa(i), string(e.Content))
					i++
					continue
				}
				var s status
				require.NoError(t, json.Unmarshal(e.Content, &s))
				require.Equal(t, "lost", s.Status)
				i += s.Count
			}
		})
	}
}

func TestShutdownClosesEachInTurn(t *testing.T) {
	t.Parallel()
	pool := storagetest.New(t)
	h, url := serve(t, pool, anything)
	var all []*browser
	for range 10 {
		b := open(t, url)
		b.send("SUB news ack=1")
		b.news()
		all = append(all, b)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- h.Shutdown(ctx) }()
	for _, b := range all {
		s := b.news()
		require.Equal(t, "closing", s.Status)
		require.Equal(t, gateway.CloseRestart, b.closed())
	}
	require.NoError(t, <-ended)
	require.Zero(t, h.Stats().Connections)
	require.NoError(t, h.Shutdown(t.Context()), "again")
	require.NoError(t, h.Close())
}

func TestShutdownCutsOffClientsThatStay(t *testing.T) {
	t.Parallel()
	pool := storagetest.New(t)
	cfg := anything
	cfg.Limits.Write = time.Minute
	h, url := serve(t, pool, cfg)
	sleep(t, url, "SUB news")
	require.Eventually(t, func() bool { return h.Stats().Subscriptions == 1 }, 5*time.Second, time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, h.Shutdown(ctx), context.DeadlineExceeded)
	require.Zero(t, h.Stats().Connections)
}

// A hook's context ends after Limits.Command.
func TestShutdownWhileAHookWaits(t *testing.T) {
	t.Parallel()
	cfg := anything
	cfg.Limits.Command = time.Hour
	began := make(chan struct{})
	cfg.Hooks = []gateway.Hooks{{Connect: func(ctx context.Context, _ *gateway.Conn, _ *http.Request) error {
		close(began)
		<-ctx.Done()
		return ctx.Err()
	}}}
	h, url := serve(t, storagetest.New(t), cfg)
	dial(t, url)
	<-began
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, h.Shutdown(ctx), context.DeadlineExceeded)
}

// What the last slow follower of a quiet channel has read is not kept until the next message.
func TestALogIsEmptyOnceSlowFollowersHaveReadIt(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		held := make(chan struct{})
		cfg := anything
		cfg.Limits.Write = 200 * time.Millisecond // the sweeper runs each quarter of it
		cfg.Commands = map[string]gateway.Command{"FILTER": {Run: func(_ context.Context, c *gateway.Conn, _ gateway.Request) error {
			c.SetFilter("wait", func(m *gateway.Message) *gateway.Message { <-held; return m })
			return nil
		}}}
		h, url := serve(t, pool, cfg)
		b := open(t, url)
		require.Empty(t, b.does("FILTER"))
		require.Empty(t, b.does("SUB news"))
		for i := range 3 {
			require.NoError(t, pool.Redis().Publish(t.Context(), key(t, pool, "news"), i).Err())
		}
		require.Eventually(t, func() bool { return h.Stats().Published == 3 && h.Logged("news") > 0 }, patience, time.Millisecond)
		close(held)
		for i := range 3 {
			require.Equal(t, strconv.Itoa(i), b.from("news"))
		}
		require.Eventually(t, func() bool { return h.Logged("news") == 0 }, 5*time.Second, time.Millisecond)
	})
}
