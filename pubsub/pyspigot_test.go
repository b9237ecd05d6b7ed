package pubsub_test

import (
	"context"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/pubsub"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// One subtest for each row of the table in doc.go.
func TestComingFromPySpigot(t *testing.T) {
	t.Parallel()
	srv := storagetest.Start(t, "--requirepass", "s3cr3t")
	ctx := t.Context()
	open := func(t *testing.T) *storage.Pool {
		cfg := srv.Config()
		cfg.Redis.Password = "s3cr3t"
		return storagetest.Open(t, cfg)
	}
	chat := pubsub.NewTopic[string]("chat").WithCodec(storage.Text)

	t.Run("basic and command client, sync", func(t *testing.T) {
		rdb := open(t).Redis()
		require.NoError(t, rdb.Set(ctx, "k", "v", 0).Err())
		require.Equal(t, "v", rdb.Get(ctx, "k").Val())
		require.Equal(t, "PONG", rdb.Do(ctx, "PING").Val(), "any command")
	})
	t.Run("command client, async", func(t *testing.T) {
		rdb := open(t).Async()
		set, get := rdb.Set(ctx, "k", "w", 0), rdb.Get(ctx, "k")
		require.NoError(t, set.Err())
		require.Equal(t, "w", get.Val())
	})
	t.Run("open by host, port and password", func(t *testing.T) {
		host, port, err := net.SplitHostPort(srv.Addr())
		require.NoError(t, err)
		pool := storagetest.Open(t, storage.Config{URL: "redis://:s3cr3t@" + net.JoinHostPort(host, port)})
		require.NoError(t, pool.Ping(ctx))
	})
	t.Run("open by URI with options", func(t *testing.T) {
		pool := storagetest.Open(t, storage.Config{
			URL:   "redis://:s3cr3t@" + srv.Addr() + "/2?read_timeout=2s",
			Redis: redis.UniversalOptions{ClientName: "me"},
		})
		require.Equal(t, "me", pool.Redis().ClientGetName(ctx).Val())
		require.Equal(t, 2*time.Second, pool.Config().Redis.ReadTimeout)
	})
	t.Run("ping before use", func(t *testing.T) {
		require.NoError(t, open(t).Ping(ctx))
		bad := srv.Config()
		bad.Redis.Password = "wr0ng"
		require.ErrorContains(t, storagetest.Open(t, bad).Ping(ctx), "WRONGPASS")
	})
	t.Run("auto-reconnect", func(t *testing.T) {
		pool := open(t)
		c := client(t, pool, pubsub.Config{})
		sub := subscribe(t, c, chat)
		cut(t, pool)
		require.ErrorIs(t, next(t, sub).Err, pubsub.ErrGap)
		publish(t, c, chat, "back")
		require.Equal(t, "back", next(t, sub).Value)
	})
	t.Run("request queue limit", func(t *testing.T) {
		cfg := open(t).Config()
		cfg.Redis.Password, cfg.MaxQueued = "s3cr3t", 10
		c := client(t, storagetest.Open(t, cfg), pubsub.Config{})
		srv.Pause()
		var all []*pubsub.Future
		for range 20 {
			all = append(all, pubsub.PublishAsync(ctx, c, chat, "x"))
		}
		_, err := all[19].Wait(ctx)
		require.ErrorIs(t, err, storage.ErrQueueFull)
		srv.Resume()
		_, err = all[0].Wait(ctx)
		require.NoError(t, err)
	})
	t.Run("timeouts", func(t *testing.T) {
		c := client(t, open(t), pubsub.Config{Timeout: 30 * time.Millisecond})
		srv.Pause()
		defer srv.Resume()
		_, err := pubsub.Publish(ctx, c, chat, "x")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		_, err = pubsub.Subscribe(ctx, c, chat)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		short, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
		defer cancel()
		_, err = pubsub.Publish(short, c, chat, "x")
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
	t.Run("while disconnected: accept or reject", func(t *testing.T) {
		own := storagetest.Start(t)
		pool := storagetest.Open(t, own.Config())
		c := client(t, pool, pubsub.Config{})
		publish(t, c, chat, "before")
		own.Kill()
		accepted := pubsub.PublishAsync(ctx, c, chat, "accepted")
		rejecting, cancel := context.WithTimeout(ctx, time.Millisecond)
		defer cancel()
		_, err := pubsub.Publish(rejecting, c, chat, "rejected")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		eventually(t, func() bool { return pool.Stats().Writes.Retried > 0 })
		own.Restart()
		_, err = accepted.Wait(ctx)
		if err != nil { // it was on its way when Redis went
			require.ErrorIs(t, err, storage.ErrIndeterminate)
		}
		publish(t, c, chat, "after")
	})
	t.Run("listeners, sync and async", func(t *testing.T) {
		c := client(t, open(t), pubsub.Config{})
		got := make(chan string, 3)
		handler := func(_ context.Context, m pubsub.Message[string]) error {
			got <- m.Value
			return m.Err
		}
		listen(t, c, chat, handler) // returns when Redis has confirmed
		listen(t, c, chat, handler, pubsub.SubscribeOptions{Concurrency: 8})
		later := make(chan *pubsub.Listener)
		go func() { // does not wait
			l, err := pubsub.Listen(ctx, c, chat, handler)
			if err != nil {
				t.Error(err)
			}
			later <- l
		}()
		defer (<-later).Close()
		publish(t, c, chat, "x")
		require.Equal(t, []string{"x", "x", "x"}, []string{<-got, <-got, <-got})
	})
	t.Run("unregister by listener and by channel", func(t *testing.T) {
		c := client(t, open(t), pubsub.Config{})
		handler := func(context.Context, pubsub.Message[string]) error { return nil }
		one, two, three := listen(t, c, chat, handler), listen(t, c, chat, handler), listen(t, c, chat, handler)
		require.NoError(t, one.Close())
		<-one.Done()
		require.Equal(t, 2, c.Unlisten("chat"))
		<-two.Done()
		<-three.Done()
	})
	t.Run("publish, sync and async, with the count of receivers", func(t *testing.T) {
		c := client(t, open(t), pubsub.Config{})
		subscribe(t, c, chat)
		n, err := pubsub.Publish(ctx, c, chat, "x")
		require.NoError(t, err)
		require.Equal(t, 1, n)
		f := pubsub.PublishAsync(ctx, c, chat, "x")
		<-f.Done()
		n, err = f.Wait(ctx)
		require.NoError(t, err)
		require.Equal(t, 1, n)
	})
	t.Run("connection events", func(t *testing.T) {
		own := storagetest.Start(t)
		var mu sync.Mutex
		var kinds []pubsub.EventKind
		c := client(t, storagetest.Open(t, own.Config()), pubsub.Config{OnEvent: func(e pubsub.Event) {
			mu.Lock()
			defer mu.Unlock()
			kinds = append(kinds, e.Kind)
		}})
		sub := subscribe(t, c, chat)
		own.Kill()
		eventually(t, func() bool {
			mu.Lock()
			defer mu.Unlock()
			return slices.Contains(kinds, pubsub.EventReconnectFailed)
		})
		own.Restart()
		next(t, sub)
		mu.Lock()
		defer mu.Unlock()
		require.Equal(t, []pubsub.EventKind{pubsub.EventConnected, pubsub.EventDisconnected, pubsub.EventReconnecting, pubsub.EventReconnectFailed}, kinds[:4])
		require.Equal(t, pubsub.EventConnected, kinds[len(kinds)-1])
	})
	t.Run("close, sync and async", func(t *testing.T) {
		c := client(t, open(t), pubsub.Config{})
		sub := subscribe(t, c, chat)
		closed := make(chan error)
		go func() { closed <- c.Close() }()
		require.NoError(t, <-closed)
		require.NoError(t, c.Close())
		ends(t, sub)
	})
	t.Run("close everything of one owner", func(t *testing.T) {
		mine, theirs := open(t), open(t)
		a, b := client(t, mine, pubsub.Config{}), client(t, mine, pubsub.Config{})
		other := client(t, theirs, pubsub.Config{})
		sub, kept := subscribe(t, a, chat), subscribe(t, other, chat)
		require.NoError(t, mine.Close())
		ends(t, sub)
		_, err := pubsub.Publish(ctx, b, chat, "x")
		require.ErrorIs(t, err, pubsub.ErrClosed)
		require.ErrorIs(t, mine.Ping(ctx), redis.ErrClosed)
		publish(t, other, chat, "still")
		require.Equal(t, "still", next(t, kept).Value)
	})
}
