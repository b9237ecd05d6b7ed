package gateway_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/gateway"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// Who is too slow finds the goodbye behind a whole frame, however much of it the
// socket had taken.
func TestTheGoodbyeOfTheSlowIsNotInAFrame(t *testing.T) {
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

// Who reads a large message slowly is not who reads nothing.
func TestALargeMessageForASlowClient(t *testing.T) {
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
