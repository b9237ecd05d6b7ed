package storagetest_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

func TestVirtualTimeIsRedisTime(t *testing.T) {
	storagetest.Virtual(t, func(t *testing.T, pool *storage.Pool) {
		ctx, rdb := t.Context(), pool.Redis()
		begun := time.Now()
		require.NoError(t, rdb.Set(ctx, "lease", "mine", time.Hour).Err())
		time.Sleep(59 * time.Minute)
		require.Equal(t, "mine", rdb.Get(ctx, "lease").Val())
		time.Sleep(2 * time.Minute)
		require.ErrorIs(t, rdb.Get(ctx, "lease").Err(), redis.Nil)
		now, err := rdb.Time(ctx).Result()
		require.NoError(t, err)
		require.WithinDuration(t, begun.Add(61*time.Minute), now, time.Second)
	})
}

func TestVirtualTimePassesInBlockingReads(t *testing.T) {
	storagetest.Virtual(t, func(t *testing.T, pool *storage.Pool) {
		ctx := t.Context()
		client := redisio.Of(pool).Dedicated()
		defer func() { require.NoError(t, client.Close()) }()
		begun := time.Now()
		require.ErrorIs(t, client.BLPop(ctx, 5*time.Second, "list").Err(), redis.Nil)
		require.WithinDuration(t, begun.Add(5*time.Second), time.Now(), 10*time.Millisecond)
		begun = time.Now()
		err := client.XRead(ctx, &redis.XReadArgs{Streams: []string{"s", "$"}, Block: 5 * time.Second}).Err()
		require.ErrorIs(t, err, redis.Nil)
		require.WithinDuration(t, begun.Add(5*time.Second), time.Now(), 10*time.Millisecond)

		time.AfterFunc(3*time.Second, func() { pool.Redis().RPush(ctx, "list", "element") })
		elem, err := client.BLPop(ctx, 5*time.Second, "list").Result()
		require.NoError(t, err)
		require.Equal(t, []string{"list", "element"}, elem)
	})
}

// Requests and replies of a pipeline exceed every buffer at once.
func TestPipelinesLargerThanBuffers(t *testing.T) {
	storagetest.Virtual(t, func(t *testing.T, pool *storage.Pool) {
		value := string(bytes.Repeat([]byte("v"), 10_000))
		cmds, err := pool.Redis().Pipelined(t.Context(), func(p redis.Pipeliner) error {
			for range 50 {
				p.Set(t.Context(), "k", value, 0)
				p.Get(t.Context(), "k")
			}
			return nil
		})
		require.NoError(t, err)
		require.Equal(t, value, cmds[len(cmds)-1].(*redis.StringCmd).Val())
	})
}

func TestCutResetsEveryConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := storagetest.NewNetwork(t)
		cfg := network.Config()
		cfg.Redis.MaxRetries = -1
		pool := storagetest.Open(t, cfg)
		ctx, rdb := t.Context(), pool.Redis()
		require.NoError(t, rdb.Set(ctx, "k", "v", 0).Err())
		require.Equal(t, 1, network.Cut())
		require.ErrorIs(t, rdb.Get(ctx, "k").Err(), syscall.ECONNRESET)
		require.Equal(t, "v", rdb.Get(ctx, "k").Val(), "a new connection")

		blocked := make(chan error)
		go func() { blocked <- rdb.BLPop(ctx, time.Hour, "list").Err() }()
		synctest.Wait()
		require.Equal(t, 1, network.Cut())
		require.ErrorIs(t, <-blocked, syscall.ECONNRESET)
		require.NoError(t, pool.Close())
		require.Zero(t, network.Cut())
	})
}

func TestDownRefusesConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := storagetest.NewNetwork(t)
		pool := storagetest.Open(t, network.Config())
		ctx := t.Context()
		require.NoError(t, pool.Redis().Set(ctx, "k", "v", 0).Err())
		network.Down()
		err := pool.Ping(ctx)
		require.ErrorIs(t, err, syscall.ECONNREFUSED)
		require.ErrorContains(t, err, "dial tcp 192.0.2.1:6379: connect: ")
		require.Zero(t, network.Cut())
		network.Up()
		require.Equal(t, "v", pool.Redis().Get(ctx, "k").Val())
	})
}

func TestConnectionsOfANetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := storagetest.NewNetwork(t)
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := network.Dial(ended, "tcp", "any")
		require.ErrorIs(t, err, context.Canceled)

		conn, err := network.Dial(t.Context(), "tcp", "any")
		require.NoError(t, err)
		require.Equal(t, "memory", conn.RemoteAddr().Network())
		require.NoError(t, conn.SetReadDeadline(time.Now().Add(time.Minute)))
		begun := time.Now()
		_, err = conn.Read(make([]byte, 1))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.Equal(t, time.Minute, time.Since(begun))
		_, err = conn.Write([]byte("*1\r\n$4\r\nPING\r\n"))
		require.NoError(t, err)
		require.NoError(t, conn.SetDeadline(time.Time{}))
		reply := make([]byte, 100)
		n, err := conn.Read(reply)
		require.NoError(t, err)
		require.Equal(t, "+PONG\r\n", string(reply[:n]))

		// A deadline ends a read that waits already, and so does Close.
		read := make(chan error)
		for _, by := range []struct {
			end  func() error
			want error
		}{
			{func() error { return conn.SetReadDeadline(time.Now()) }, os.ErrDeadlineExceeded},
			{conn.Close, net.ErrClosed},
		} {
			require.NoError(t, conn.SetReadDeadline(time.Time{}))
			go func() {
				_, err := conn.Read(reply)
				read <- err
			}()
			synctest.Wait()
			require.NoError(t, by.end())
			require.ErrorIs(t, <-read, by.want)
		}
		_, err = conn.Write([]byte("*1\r\n$4\r\nPING\r\n"))
		require.ErrorIs(t, err, net.ErrClosed)
	})
}

func TestEndsOfAConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := storagetest.NewConns()
		var wg sync.WaitGroup
		sent := bytes.Repeat([]byte("0123456789"), 300_000) // more than fits
		wg.Go(func() {
			n, err := a.Write(sent)
			if err != nil || n != len(sent) {
				t.Error(n, err)
			}
			_ = a.Close()
		})
		got, err := io.ReadAll(b) // all that came before the end
		require.NoError(t, err)
		require.True(t, bytes.Equal(sent, got))
		wg.Wait()
		_, err = b.Write([]byte("x"))
		require.ErrorIs(t, err, syscall.EPIPE)
		require.NoError(t, b.Close())
		_, err = b.Read(got)
		require.ErrorIs(t, err, net.ErrClosed)

		a, b = storagetest.NewConns()
		require.NoError(t, a.SetWriteDeadline(time.Now().Add(time.Second)))
		n, err := a.Write(sent)
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.Less(t, n, len(sent))
		require.NoError(t, a.Close())
		require.NoError(t, b.Close())
	})
}
