//go:build unix

package gateway_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/gateway"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// gatewayRedis makes the test binary a server for channel news on the Redis at
// that address: ten thousand sockets are twice as many descriptors as one process
// may have.
const gatewayRedis = "HELIOGRAPH_TEST_GATEWAY"

func init() {
	addr := os.Getenv(gatewayRedis)
	if addr == "" {
		return
	}
	fmt.Fprintln(os.Stderr, gatewayMain(addr))
	os.Exit(1)
}

func gatewayMain(addr string) error {
	pool, err := storage.Open(storage.Config{Redis: redis.UniversalOptions{Addrs: []string{addr}}})
	if err != nil {
		return err
	}
	h, err := gateway.New(pool, gateway.Config{Channels: []gateway.Channel{{Pattern: "news"}}})
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	return http.Serve(l, h)
}

// Every one of ten thousand sockets gets every message, in order.
func TestTenThousandSockets(t *testing.T) {
	t.Parallel()
	storagetest.Long(t)
	const sockets, messages = 10_000, 20
	srv := storagetest.Start(t)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), gatewayRedis+"="+srv.Addr())
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	addr, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)

	var subscribed, received, wrong atomic.Int64
	for range sockets {
		conn, ahead, _, err := ws.Dial(t.Context(), "ws://"+strings.TrimSpace(addr)+"/")
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		require.NoError(t, ws.WriteFrame(conn, ws.MaskFrame(ws.NewTextFrame([]byte("SUB news ack=1")))))
		in := ahead
		if in == nil {
			in = bufio.NewReaderSize(conn, 512)
		}
		go func() {
			for next := -2; ; { // open and subscribed come first
				h, err := ws.ReadHeader(in)
				if err != nil {
					return
				}
				payload := make([]byte, h.Length)
				if _, err := io.ReadFull(in, payload); err != nil {
					return
				}
				switch {
				case h.OpCode == ws.OpPing:
					_ = ws.WriteFrame(conn, ws.MaskFrame(ws.NewPongFrame(payload)))
					continue
				case next == -1:
					subscribed.Add(1)
				case next >= 0:
					if !strings.Contains(string(payload), fmt.Sprintf(`"content": %d,`, next)) {
						wrong.Add(1)
					}
					received.Add(1)
				}
				next++
			}
		}()
	}
	require.Eventually(t, func() bool { return subscribed.Load() == sockets }, time.Minute, 5*time.Millisecond)
	client := redis.NewClient(&redis.Options{Addr: srv.Addr()})
	defer client.Close()
	for i := range messages {
		require.NoError(t, client.Publish(context.Background(), "news", i).Err())
	}
	require.Eventually(t, func() bool { return received.Load() == sockets*messages }, time.Minute, 5*time.Millisecond)
	require.Zero(t, wrong.Load())
}
