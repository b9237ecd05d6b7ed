package gateway_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/gateway"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// A code that RFC 6455 does not allow in a close frame is not in it.
func TestCodesThatMayNotBeSent(t *testing.T) {
	t.Parallel()
	var code atomic.Uint32
	cfg := anything
	cfg.Commands = map[string]gateway.Command{"QUIT": {Run: func(_ context.Context, c *gateway.Conn, _ gateway.Request) error {
		c.Close(gateway.CloseCode(code.Load()), "text")
		return nil
	}}}
	_, address := serve(t, storagetest.New(t), cfg)
	for sent, want := range map[gateway.CloseCode]gateway.CloseCode{
		gateway.CloseAbnormal: 1005, 0: 1005, 999: 1005, 1004: 1005, 1005: 1005, 1015: 1005, 2999: 1005, 5000: 1005,
		1000: 1000, gateway.CloseGoingAway: 1001, 1014: 1014, 3000: 3000, 4999: 4999,
	} {
		code.Store(uint32(sent))
		b := open(t, address)
		b.send("QUIT")
		require.Equal(t, want, b.closed(), sent)
	}
}

// A client that is too slow finds the close frame after a whole frame, however much of it the
// socket had taken.
func TestTheCloseFrameOfTheSlowIsNotInAFrame(t *testing.T) {
	t.Parallel()
	conns := make(chan *gateway.Conn, 1)
	cfg := anything
	cfg.Limits = gateway.Limits{QueueBytes: 1}
	cfg.Hooks = []gateway.Hooks{{Connect: func(_ context.Context, c *gateway.Conn, _ *http.Request) error {
		conns <- c
		return nil
	}}}
	h, address := serve(t, storagetest.New(t), cfg)
	data := []byte(strings.Repeat("x", 300_000))
	for i := range int64(20) {
		w := connect(t, address)
		c := <-conns
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				for h.Stats().Slow == i {
					c.Send(data)
				}
			})
		}
		all.Wait()
		f := w.next()
		for ; f.Header.OpCode == ws.OpText; f = w.next() {
			require.Equal(t, len(data), len(f.Payload))
		}
		code, _ := ws.ParseCloseFrameData(f.Payload)
		require.EqualValues(t, gateway.CloseSlow, code)
		_ = w.conn.Close()
	}
}

// A client that reads a large message slowly is not disconnected.
func TestALargeMessageForASlowClient(t *testing.T) {
	t.Parallel()
	const size, step = 24 << 20, 256 << 10
	cfg := anything
	cfg.Limits = gateway.Limits{Write: 500 * time.Millisecond}
	cfg.Hooks = []gateway.Hooks{{Connect: func(_ context.Context, c *gateway.Conn, _ *http.Request) error {
		c.Send([]byte(strings.Repeat("x", size)))
		return nil
	}}}
	h, address := serve(t, storagetest.New(t), cfg)
	w := connect(t, address)
	require.NoError(t, w.conn.(*net.TCPConn).SetReadBuffer(64<<10))
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for range size / step {
		<-tick.C
		_, err := io.CopyN(io.Discard, w.in, step)
		require.NoError(t, err)
	}
	require.Zero(t, h.Stats().Slow)
}

// What a host sends counts in the queue, by number and with what it takes besides.
func TestBroadcastsForASlowClient(t *testing.T) {
	t.Parallel()
	for name, limits := range map[string]gateway.Limits{
		"messages": {QueueMessages: 1000, QueueBytes: 1 << 30},
		"bytes":    {QueueMessages: 1 << 30, QueueBytes: 64_000},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := anything
			cfg.Limits = limits
			cfg.Limits.Write = time.Minute
			h, address := serve(t, storagetest.New(t), cfg)
			sleep(t, address, "SUB news")
			require.Eventually(t, func() bool { return h.Stats().Subscriptions == 1 }, patience, time.Millisecond)
			gateway.Broadcast(make([]byte, 24<<20), h.Conns()...) // of which the socket takes a part
			time.Sleep(20 * time.Millisecond)                     // and the rest is being written, and waits no more
			for range 1100 {
				gateway.Broadcast([]byte("x"), h.Conns()...)
			}
			require.EqualValues(t, 1, h.Stats().Slow)
		})
	}
}

// A client that reads gets an answer of more messages than the queue holds.
func TestAnswersOfManyMessages(t *testing.T) {
	t.Parallel()
	pool := storagetest.New(t)
	cfg := anything
	cfg.Limits = gateway.Limits{QueueMessages: 10, QueueBytes: 1000}
	_, address := serve(t, pool, cfg)
	for i := range 5000 {
		require.NoError(t, pool.Redis().HSet(t.Context(), key(t, pool, "big"), i, i).Err())
	}
	b := open(t, address)
	b.send("GET big")
	for range 5000 {
		b.from("big")
	}
}

// A command that ends with its connection has not failed.
func TestDisconnectWhileACommandRuns(t *testing.T) {
	t.Parallel()
	cfg := anything
	began := make(chan struct{})
	cfg.Commands = map[string]gateway.Command{"WAIT": {Run: func(ctx context.Context, _ *gateway.Conn, _ gateway.Request) error {
		close(began)
		<-ctx.Done()
		return ctx.Err()
	}}}
	h, address := serve(t, storagetest.New(t), cfg)
	b := open(t, address)
	b.send("WAIT")
	<-began
	require.Equal(t, 1, h.Disconnect(""))
	require.Equal(t, gateway.CloseDisconnected, b.closed())
	empty(t, h)
	require.Zero(t, h.Stats().Errors)
}

// Answers that a command holds back leave the room of what is published alone.
func TestPublicationsWhileACommandAnswers(t *testing.T) {
	t.Parallel()
	for _, limit := range []int{1, 2, 8} {
		cfg := anything
		source := &tower{}
		cfg.Source = source
		cfg.Limits = gateway.Limits{QueueMessages: limit}
		replied, goOn := make(chan error), make(chan struct{})
		cfg.Commands = map[string]gateway.Command{"WORK": {Run: func(_ context.Context, c *gateway.Conn, r gateway.Request) error {
			replied <- c.Reply(r, "x", 1)
			<-goOn
			return nil
		}}}
		h, address := serve(t, storagetest.New(t), cfg)
		b := open(t, address)
		b.send("SUB lights ack=1")
		b.news()
		b.send("WORK")
		require.NoError(t, <-replied)
		for i := range limit {
			source.shine(gateway.Publication{Data: strconv.AppendInt(nil, int64(i), 10)})
		}
		require.Eventually(t, func() bool { return h.Stats().Published == int64(limit) }, patience, time.Millisecond)
		close(goOn)
		b.from("x")
		for range limit {
			b.from("lights")
		}
		require.Zero(t, h.Stats().Slow)
	}
}
