package gateway_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/gateway"
	"github.com/heliograph/heliograph/pubsub"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// key returns a name as Redis has it.
func key(t testing.TB, pool *storage.Pool, name string) string {
	t.Helper()
	k, err := pool.Key(name)
	require.NoError(t, err)
	return k
}

// status is the content of a status frame.
type status struct {
	Status    string
	Channel   string
	Offset    string
	Recovered *bool
	Snapshot  *int
	Count     int
}

func (b *browser) news() (s status) {
	b.t.Helper()
	require.NoError(b.t, json.Unmarshal(b.status().Content, &s))
	return s
}

// A writer changes a hash and publishes the value in one MULTI, all the time. A client that
// comes in between sees each value from some point on, once.
func TestSnapshotAndLiveHaveNoGapAndNoRepeat(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		_, url := serve(t, pool, anything)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		name := key(t, pool, "counter")
		var writer sync.WaitGroup
		writer.Go(func() {
			for i := 1; ctx.Err() == nil; i++ {
				_, _ = pool.Redis().TxPipelined(ctx, func(tx redis.Pipeliner) error {
					tx.HSet(ctx, name, "n", i)
					tx.Publish(ctx, name, i)
					return nil
				})
			}
		})
		defer writer.Wait()
		defer cancel()
		require.Eventually(t, func() bool { return pool.Redis().HLen(ctx, name).Val() == 1 }, 5*time.Second, time.Millisecond)
		for range 20 {
			b := open(t, url)
			b.send("SUB counter snapshot=1")
			last, err := strconv.Atoi(b.from("counter"))
			require.NoError(t, err)
			s := b.news()
			require.Equal(t, "subscribed", s.Status)
			require.Equal(t, 1, *s.Snapshot)
			for range 50 {
				n, err := strconv.Atoi(b.from("counter"))
				require.NoError(t, err)
				require.Equal(t, last+1, n)
				last = n
			}
			require.NoError(t, b.conn.CloseNow())
		}
	})
}

var kept = pubsub.History{Size: 50}

// Channels may have another prefix than keys.
func TestSnapshotWithAPubSubOfTheHost(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		other, err := storage.New(pool.Redis(), storage.Config{Prefix: "other"})
		require.NoError(t, err)
		defer other.Close()
		cfg := anything
		cfg.PubSub, err = pubsub.NewClient(other, pubsub.Config{})
		require.NoError(t, err)
		h, url := serve(t, pool, cfg)
		defer h.Close()
		require.NoError(t, pool.Redis().HSet(t.Context(), key(t, pool, "news"), "f", "1").Err())
		b := open(t, url)
		b.send("SUB news snapshot=1")
		require.Equal(t, "1", b.from("news"))
		require.Equal(t, "subscribed", b.news().Status)
		require.NoError(t, pool.Redis().Publish(t.Context(), key(t, other, "news"), "2").Err())
		require.Equal(t, "2", b.from("news"))
	})
}

func TestRecoveryIsAllOrNothing(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		cfg := gateway.Config{Channels: []gateway.Channel{{Pattern: "log*", History: &kept}, {Pattern: "plain"}}}
		h, url := serve(t, pool, cfg)
		ps, err := pubsub.NewClient(pool, pubsub.Config{})
		require.NoError(t, err)
		topic := pubsub.NewTopic[int]("log").WithCodec(storage.JSON).WithHistory(kept)
		n := 0
		publish := func(count int) {
			for range count {
				_, err := pubsub.Publish(t.Context(), ps, topic, n)
				require.NoError(t, err)
				n++
			}
		}
		b := open(t, url)
		b.send("SUB log")
		s := b.news()
		require.Equal(t, "subscribed", s.Status)
		require.NotEmpty(t, s.Offset, "told also when nothing was ever published")
		none := s.Offset
		publish(10)
		var offsets []string
		for i := range 10 {
			e := b.next()
			require.Equal(t, strconv.Itoa(i), string(e.Content))
			offsets = append(offsets, e.Offset)
		}
		require.NoError(t, b.conn.CloseNow())

		resume := func(since string) (*browser, status) { // with nothing but the history
			require.Eventually(t, func() bool { return h.Stats().Channels == 0 }, patience, time.Millisecond)
			b := open(t, url)
			b.send("SUB log since=" + since)
			return b, b.news()
		}
		b, s = resume(none)
		require.False(t, *s.Recovered, "of a history before this one nothing would be known")
		require.Equal(t, offsets[9], s.Offset)
		require.NoError(t, b.conn.CloseNow())
		publish(5)
		for _, row := range []struct {
			since string
			from  int
		}{{offsets[0], 1}, {offsets[9], 10}} {
			b, s := resume(row.since)
			require.True(t, *s.Recovered)
			require.Equal(t, row.since, s.Offset, "safe to store before the rest comes")
			for i := row.from; i < n; i++ {
				require.Equal(t, strconv.Itoa(i), b.from("log"))
			}
			publish(1)
			require.Equal(t, strconv.Itoa(n-1), b.from("log"), "and goes on live")
			require.NoError(t, b.conn.CloseNow())
		}
		publish(100)
		b, s = resume(offsets[0])
		require.False(t, *s.Recovered, "it was trimmed")
		publish(1)
		require.Equal(t, strconv.Itoa(n-1), b.from("log"), "nothing of it")
		require.NoError(t, b.conn.CloseNow())
		b, s = resume("other:1-1")
		require.False(t, *s.Recovered, "another history")

		b.send("SUB log since=nonsense")
		require.Equal(t, gateway.CodeBadCommand, b.fails())
		b.send("SUB plain since=" + none)
		require.False(t, *b.news().Recovered, "a channel without a history")
	})
}

// Clients come and go while messages are published: each gets all from its offset on,
// once and in order.
func TestRecoveryWhileMessagesCome(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		history := pubsub.History{Size: 100_000}
		_, url := serve(t, pool, gateway.Config{
			Channels: []gateway.Channel{{Pattern: "log", History: &history}}, Limits: gateway.Limits{LogMessages: 100_000, LogBytes: 64 << 20},
		})
		ps, err := pubsub.NewClient(pool, pubsub.Config{})
		require.NoError(t, err)
		topic := pubsub.NewTopic[int]("log").WithCodec(storage.JSON).WithHistory(history)
		ctx, cancel := context.WithCancel(t.Context())
		var writer sync.WaitGroup
		writer.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				_, _ = pubsub.Publish(ctx, ps, topic, i)
			}
		})
		defer writer.Wait()
		defer cancel()
		since, last := "", -1
		for range 30 {
			b := open(t, url)
			if since == "" {
				b.send("SUB log")
				b.news()
			} else {
				b.send("SUB log since=" + since)
				require.True(t, *b.news().Recovered)
			}
			for range 40 {
				e := b.next()
				got, err := strconv.Atoi(string(e.Content))
				require.NoError(t, err)
				if last >= 0 {
					require.Equal(t, last+1, got)
				}
				since, last = e.Offset, got
			}
			require.NoError(t, b.conn.CloseNow())
		}
	})
}

func TestRedisIsGoneForAWhile(t *testing.T) {
	t.Parallel()
	srv := storagetest.Start(t)
	pool := storagetest.Open(t, srv.Config())
	cfg := anything
	cfg.Limits.Command = 300 * time.Millisecond
	h, url := serve(t, pool, cfg)
	b := open(t, url)
	b.send("SUB news ack=1")
	b.news()
	srv.Kill()
	b.send("GET trains")
	require.Equal(t, gateway.CodeUnavailable, b.fails())
	b.send("SUB others")
	require.Equal(t, gateway.CodeUnavailable, b.fails())
	b.send("PING")
	require.Equal(t, `"PONG"`, b.from("websocket"), "the socket stays")
	srv.Restart()
	s := b.news()
	require.Equal(t, status{Status: "gap", Channel: "news"}, s)
	require.NoError(t, pool.Redis().Publish(t.Context(), key(t, pool, "news"), "1").Err())
	require.Equal(t, "1", b.from("news"))
	b.send("SUB others ack=1")
	require.Equal(t, "subscribed", b.news().Status)
	require.Equal(t, int64(2), h.Stats().Unavailable)
	require.Equal(t, int64(1), h.Stats().Gaps)
}

// While Redis is unreachable, SUB is answered at once, and a connection whose Connect hook
// follows a channel is asked to reconnect.
func TestFollowingFailsAtOnceWhileRedisIsUnreachable(t *testing.T) {
	t.Parallel()
	srv := storagetest.Start(t)
	pool := storagetest.Open(t, srv.Config())
	cfg := anything
	cfg.Limits.Command = time.Hour
	cfg.Hooks = []gateway.Hooks{{Connect: func(ctx context.Context, c *gateway.Conn, r *http.Request) error {
		if r.URL.RawQuery == "" {
			return nil
		}
		return follows("global").Connect(ctx, c, r)
	}}}
	h, url := serve(t, pool, cfg)
	b := open(t, url)
	srv.Kill()
	for i := range 3 {
		b.send(fmt.Sprint("SUB ", i))
		require.Equal(t, gateway.CodeUnavailable, b.fails())
	}
	require.EqualValues(t, 3, h.Stats().Unavailable)
	require.Equal(t, gateway.CloseTryAgain, dial(t, url+"?follow").closed())
	srv.Restart()
	require.Eventually(t, func() bool { return b.does("SUB 1") == "" }, patience, time.Millisecond)
}

func TestOneRedisSubscriptionForEachChannel(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		h, url := serve(t, pool, anything)
		name := key(t, pool, "news")
		subscribers := func() int64 { return pool.Redis().PubSubNumSub(t.Context(), name).Val()[name] }
		var all []*browser
		for range 20 {
			b := open(t, url)
			b.send("SUB news ack=1")
			b.news()
			all = append(all, b)
		}
		require.Equal(t, int64(1), subscribers())
		require.Equal(t, 1, h.Stats().Channels)
		require.Equal(t, 20, h.Stats().Subscriptions)
		require.NoError(t, pool.Redis().Publish(t.Context(), name, `"to all"`).Err())
		for _, b := range all {
			require.Equal(t, `"to all"`, b.from("news"))
		}
		for _, b := range all[1:] {
			require.NoError(t, b.conn.CloseNow())
		}
		require.Eventually(t, func() bool { return h.Stats().Subscriptions == 1 }, 5*time.Second, time.Millisecond)
		all[0].send("DEL news")
		require.Eventually(t, func() bool { return subscribers() == 0 && h.Stats().Channels == 0 }, 5*time.Second, 5*time.Millisecond)
	})
}

func TestWhatIsNotJSONBecomesAString(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		_, url := serve(t, pool, anything)
		name := key(t, pool, "news")
		b := open(t, url)
		b.send("SUB news ack=1")
		b.news()
		for _, row := range []struct{ published, content string }{
			{`{"a": 1 }`, `{"a": 1 }`}, {"", `""`}, {"hello", `"hello"`}, {`{"a": `, `"{\"a\": "`}, {"a\x00\n\"\\b", `"a\u0000\u000a\"\\b"`},
			{"\xff\xfe", "\"\uFFFD\uFFFD\""}, {"\"a\xffb\"", "\"a\uFFFDb\""}, {"NaN", `"NaN"`}, {"12345678901234567890.10", "12345678901234567890.10"},
			{strings.Repeat("[", 20_000), `"` + strings.Repeat("[", 20_000) + `"`},
		} {
			require.NoError(t, pool.Redis().Publish(t.Context(), name, row.published).Err())
			require.Equal(t, row.content, b.from("news"))
		}
	})
}

func TestFiltersRunInTheOrderInWhichTheyWereFirstSet(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		cfg := anything
		cfg.Commands = map[string]gateway.Command{
			"APPEND": {Min: 1, Max: 2, Run: func(_ context.Context, c *gateway.Conn, r gateway.Request) error {
				var f gateway.Filter
				if len(r.Args) == 2 {
					f = func(m *gateway.Message) *gateway.Message {
						if strings.Contains(string(m.Content), "secret") {
							return nil
						}
						return m.With(json.RawMessage(strings.TrimSuffix(string(m.Content), `"`) + r.Args[1] + `"`))
					}
				}
				c.SetFilter(r.Args[0], f)
				return nil
			}},
		}
		h, url := serve(t, pool, cfg)
		name := key(t, pool, "news")
		require.NoError(t, pool.Redis().HSet(t.Context(), name, "a", `"x"`).Err())
		b, plain := open(t, url), open(t, url)
		for _, each := range []*browser{b, plain} {
			each.send("SUB news ack=1")
			each.news()
		}
		expect := func(want string) {
			t.Helper()
			b.send("GET news a")
			require.Equal(t, want, b.from("news a"))
			require.NoError(t, pool.Redis().Publish(t.Context(), name, `"x"`).Err())
			require.Equal(t, want, b.from("news"))
			require.Equal(t, `"x"`, plain.from("news"))
		}
		expect(`"x"`)
		b.send("APPEND one 1")
		b.send("APPEND two 2")
		expect(`"x12"`)
		b.send("APPEND one 3")
		expect(`"x32"`)
		b.send("APPEND one")
		b.send("APPEND one 1")
		expect(`"x21"`)
		require.NoError(t, pool.Redis().Publish(t.Context(), name, `"secret"`).Err())
		require.Equal(t, `"secret"`, plain.from("news"))
		b.send("PING")
		require.Equal(t, `"PONG"`, b.from("websocket"))
		require.Equal(t, int64(1), h.Stats().Filtered)
	})
}

func TestSourceOfTheHost(t *testing.T) {
	t.Parallel()
	source := &tower{}
	cfg := anything
	cfg.Source = source
	_, url := serve(t, storagetest.New(t), cfg)
	b := open(t, url)
	b.send("SUB lights ack=1")
	b.news()
	for i := range 100 {
		source.shine(gateway.Publication{Data: fmt.Appendf(nil, "%d", i)})
		require.Equal(t, strconv.Itoa(i), b.from("lights"))
	}
	source.shine(gateway.Publication{Gap: true})
	require.Equal(t, "gap", b.news().Status)
	b.send("SUB dark")
	require.Equal(t, gateway.CodeForbidden, b.fails())
	b.send("DEL lights")
	require.Eventually(t, func() bool {
		source.mu.Lock()
		defer source.mu.Unlock()
		return source.deliver == nil
	}, 5*time.Second, time.Millisecond)
}

// tap is a source whose messages the test delivers.
type tap struct {
	mu      sync.Mutex
	deliver func(gateway.Publication)
}

func (s *tap) Follow(_ context.Context, _ string, deliver func(gateway.Publication)) (stop func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deliver = deliver
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.deliver = nil
	}, nil
}

type tower struct{ tap }

func (s *tower) shine(p gateway.Publication) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deliver(p)
}

func (s *tower) Follow(ctx context.Context, channel string, deliver func(gateway.Publication)) (func(), error) {
	if channel == "dark" {
		return nil, gateway.Errorf(gateway.CodeForbidden, "it is dark")
	}
	return s.tap.Follow(ctx, channel, deliver)
}
