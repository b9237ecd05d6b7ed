//go:build linux

package peers

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/gobwas/ws"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/gateway"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// With the environment variable serverKind the test binary is a server of that kind, for
// the Redis of redisAddr: the cost of a server is the cost of its process.
const (
	serverKind = "HELIOGRAPH_PEER_GATEWAY"
	redisAddr  = "HELIOGRAPH_PEER_REDIS"
	serverTLS  = "HELIOGRAPH_PEER_TLS" // set: it serves TLS
)

func init() {
	servers := map[string]func(addr string) (http.Handler, error){"heliograph": ours, "naive": naive, "bare": bare}
	serve, ok := servers[os.Getenv(serverKind)]
	if !ok {
		return
	}
	h, err := serve(os.Getenv(redisAddr))
	if err == nil && os.Getenv(serverTLS) != "" {
		srv := httptest.NewUnstartedServer(h)
		srv.StartTLS()
		fmt.Println(srv.Listener.Addr())
		select {}
	}
	if err == nil {
		var l net.Listener
		if l, err = net.Listen("tcp", "127.0.0.1:0"); err == nil {
			fmt.Println(l.Addr())
			err = http.Serve(l, h)
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func ours(addr string) (http.Handler, error) {
	pool, err := storage.Open(storage.Config{Redis: redis.UniversalOptions{Addrs: []string{addr}}})
	if err != nil {
		return nil, err
	}
	return gateway.New(pool, gateway.Config{
		Channels: []gateway.Channel{{Pattern: "heliograph"}, {Pattern: "positions", Slow: gateway.SlowConflate, Key: func(content []byte) string { return string(content[:8]) }}},
		Keys:     []string{"heliograph"}, Limits: gateway.Limits{Write: time.Minute},
	})
}

// naive is the obvious implementation: a loop over the sockets for each message.
func naive(addr string) (http.Handler, error) {
	var mu sync.Mutex
	var conns []*websocket.Conn
	ps := redis.NewClient(&redis.Options{Addr: addr}).Subscribe(context.Background(), "naive")
	go func() {
		for m := range ps.Channel() {
			mu.Lock()
			now := slices.Clone(conns)
			mu.Unlock()
			for _, c := range now {
				_ = c.Write(context.Background(), websocket.MessageText, []byte(m.Payload))
			}
		}
	}()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		mu.Lock()
		conns = append(conns, c)
		mu.Unlock()
		_ = c.Write(r.Context(), websocket.MessageText, []byte(`{"status": "open"}`))
		for {
			if _, _, err := c.Read(context.Background()); err != nil {
				return
			}
		}
	}), nil
}

// bare does what no server can leave out: for each message one write system call on each
// socket, of the bytes that ours writes. It looks at no result.
func bare(addr string) (http.Handler, error) {
	var mu sync.Mutex
	var fds []int
	ps := redis.NewClient(&redis.Options{Addr: addr}).Subscribe(context.Background(), "bare")
	go func() {
		for m := range ps.Channel() {
			frame := ws.MustCompileFrame(ws.NewTextFrame(fmt.Appendf(nil,
				`{"source": "heliograph", "content": %s, "timestamp": 1790000000000.123, "client_reference": null}`, m.Payload)))
			mu.Lock()
			now := slices.Clone(fds)
			mu.Unlock()
			for _, fd := range now {
				_, _ = syscall.Write(fd, frame)
			}
		}
	}()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, _, _, err := ws.UpgradeHTTP(r, w)
		if err != nil {
			return
		}
		defer conn.Close()
		raw, err := conn.(*net.TCPConn).SyscallConn()
		if err != nil {
			return
		}
		_ = raw.Control(func(fd uintptr) {
			mu.Lock()
			defer mu.Unlock()
			fds = append(fds, int(fd))
		})
		_ = ws.WriteFrame(conn, ws.NewTextFrame([]byte(`{"status": "open"}`)))
		_, _ = io.Copy(io.Discard, conn)
	}), nil
}

// process is a server. It serves the channel with the name of its kind.
type process struct {
	kind  string
	pid   int
	url   string
	count atomic.Int64 // messages that its sockets received
}

func startServer(b testing.TB, kind, redis string) *process {
	return startServerWith(b, kind, "ws", redis)
}

// startServerWith starts a server of a scheme, ws or wss.
func startServerWith(b testing.TB, kind, scheme, redis string) *process {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), serverKind+"="+kind, redisAddr+"="+redis)
	if scheme == "wss" {
		cmd.Env = append(cmd.Env, serverTLS+"=1")
	}
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(b, err)
	require.NoError(b, cmd.Start())
	b.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(b, err)
	return &process{kind: kind, pid: cmd.Process.Pid, url: scheme + "://" + strings.TrimSpace(line) + "/"}
}

// cpu returns the time that the process has spent, its system calls included.
func (p *process) cpu(b testing.TB) time.Duration {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.pid))
	require.NoError(b, err)
	_, rest, _ := strings.Cut(string(data), ") ")
	fields := strings.Fields(rest)
	user, err := strconv.Atoi(fields[11])
	require.NoError(b, err)
	system, err := strconv.Atoi(fields[12])
	require.NoError(b, err)
	return time.Duration(user+system) * 10 * time.Millisecond // USER_HZ is 100
}

// rss returns the memory of the process, in kilobytes.
func (p *process) rss(b testing.TB) int {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid))
	require.NoError(b, err)
	_, rest, _ := strings.Cut(string(data), "VmRSS:")
	kb, err := strconv.Atoi(strings.Fields(rest)[0])
	require.NoError(b, err)
	return kb
}

// connect opens sockets, sends hello on each if there is one, and counts the messages
// that they receive.
func (p *process) connect(b testing.TB, n int, hello string) {
	want := p.count.Load() + int64(n) // each receives a greeting
	if hello != "" {
		want += int64(n)
	}
	for range n {
		conn, in := p.dial(b, hello)
		go p.read(conn, in)
	}
	for p.count.Load() < want {
		time.Sleep(time.Millisecond)
	}
}

// dial opens a socket. In reads from it.
func (p *process) dial(b testing.TB, hello string) (conn net.Conn, in *bufio.Reader) {
	return p.dialWith(b, ws.Dialer{TLSConfig: &tls.Config{InsecureSkipVerify: true}}, hello)
}

func (p *process) dialWith(b testing.TB, d ws.Dialer, hello string) (conn net.Conn, in *bufio.Reader) {
	conn, in, _, err := d.Dial(context.Background(), p.url)
	require.NoError(b, err)
	b.Cleanup(func() { _ = conn.Close() })
	if hello != "" {
		require.NoError(b, ws.WriteFrame(conn, ws.MaskFrame(ws.NewTextFrame([]byte(hello)))))
	}
	if in == nil { // nothing came with the handshake
		in = bufio.NewReaderSize(conn, 4096)
	}
	return conn, in
}

func (p *process) read(conn net.Conn, br *bufio.Reader) {
	for {
		h, err := ws.ReadHeader(br)
		if err != nil {
			return
		}
		if _, err := io.CopyN(io.Discard, br, h.Length); err != nil {
			return
		}
		switch h.OpCode {
		case ws.OpPing:
			_ = ws.WriteFrame(conn, ws.MaskFrame(ws.NewPongFrame(nil)))
		case ws.OpText:
			p.count.Add(1)
		}
	}
}

// narrow dials sockets with a small buffer, which a few messages fill.
var narrow = ws.Dialer{NetDial: func(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err == nil {
		err = conn.(*net.TCPConn).SetReadBuffer(4096)
	}
	return conn, err
}}

// publish publishes messages, with a number of them under way at a time, and returns the
// server's CPU time for each delivery.
func (p *process) publish(b testing.TB, client *redis.Client, sockets, messages, flying int) time.Duration {
	payload := `{"id": 12345, "name": "` + strings.Repeat("x", 104) + `"}`
	begin, cpu := p.count.Load(), p.cpu(b)
	for i := range messages {
		for p.count.Load()-begin < int64(i-flying+1)*int64(sockets) {
			time.Sleep(20 * time.Microsecond)
		}
		require.NoError(b, client.Publish(context.Background(), p.kind, payload).Err())
	}
	for p.count.Load()-begin < int64(messages)*int64(sockets) {
		time.Sleep(20 * time.Microsecond)
	}
	return (p.cpu(b) - cpu) / time.Duration(messages*sockets)
}

// BenchmarkGatewayDelivery compares the server's CPU time to deliver a message of 128
// bytes to each of 1,000 sockets with that of a loop of coder/websocket writes, and with
// that of a bare loop of write system calls.
func BenchmarkGatewayDelivery(b *testing.B) { benchmarkDelivery(b, "ws") }

// BenchmarkGatewayTLS is the same over TLS, on both sides.
func BenchmarkGatewayTLS(b *testing.B) { benchmarkDelivery(b, "wss") }

func benchmarkDelivery(b *testing.B, scheme string) {
	const sockets, messages, turns = 1000, 200, 7
	srv := storagetest.Start(b)
	client := redis.NewClient(&redis.Options{Addr: srv.Addr()})
	defer client.Close()
	one, other := startServerWith(b, "heliograph", scheme, srv.Addr()), startServerWith(b, "naive", scheme, srv.Addr())
	one.connect(b, sockets, "SUB heliograph ack=1")
	other.connect(b, sockets, "")
	var least *process
	if scheme == "ws" {
		least = startServerWith(b, "bare", scheme, srv.Addr())
		least.connect(b, sockets, "")
	}
	for _, flying := range []int{1, 8} {
		b.Run(fmt.Sprintf("flying=%d", flying), func(b *testing.B) {
			for b.Loop() {
				var ours, theirs, ratios, bares []float64
				for range turns {
					ours = append(ours, float64(one.publish(b, client, sockets, messages, flying)))
					theirs = append(theirs, float64(other.publish(b, client, sockets, messages, flying)))
					ratios = append(ratios, ours[len(ours)-1]/theirs[len(theirs)-1])
					if least != nil {
						bares = append(bares, float64(least.publish(b, client, sockets, messages, flying))/theirs[len(theirs)-1])
					}
				}
				if least != nil {
					b.ReportMetric(median(bares), "bare-of-naive")
				}
				b.ReportMetric(median(ratios), "of-naive")
				b.ReportMetric(median(ours), "ns/delivery")
				b.ReportMetric(median(theirs), "naive-ns/delivery")
			}
		})
	}
}

// BenchmarkGatewayIdle measures the memory of an idle socket.
func BenchmarkGatewayIdle(b *testing.B) {
	const sockets = 5000
	srv := storagetest.Start(b)
	for b.Loop() {
		p := startServer(b, "heliograph", srv.Addr())
		p.connect(b, 10, "SUB heliograph ack=1")
		before := p.rss(b)
		p.connect(b, sockets, "SUB heliograph ack=1")
		b.ReportMetric(float64(p.rss(b)-before)/sockets, "KB/socket")
	}
}

// BenchmarkGatewaySlow measures how one socket that reads nothing delays the others: it
// compares the p99 of the time from publishing to each of 200 sockets with the same
// without that socket.
func BenchmarkGatewaySlow(b *testing.B) {
	const sockets, messages, turns = 200, 300, 9
	srv := storagetest.Start(b)
	client := redis.NewClient(&redis.Options{Addr: srv.Addr()})
	defer client.Close()
	p := startServer(b, "heliograph", srv.Addr())
	var took latencies
	for range sockets {
		conn, ahead := p.dial(b, "SUB heliograph ack=1")
		go took.read(conn, ahead)
	}
	took.wait(2 * sockets) // each has received a greeting and the answer to SUB
	for b.Loop() {
		var ratios []float64
		for range turns {
			alone := took.p99(b, client, sockets, messages)
			stalled, _ := p.dial(b, "SUB heliograph")
			ratios = append(ratios, took.p99(b, client, sockets, messages)/alone)
			_ = stalled.Close()
		}
		b.ReportMetric(median(ratios), "p99-x")
	}
}

// BenchmarkGatewayStalled measures what 300 sockets that read nothing of a conflated channel
// take from 200 others: it compares the rates at which those get its messages.
func BenchmarkGatewayStalled(b *testing.B) {
	const sockets, stalled, messages, turns = 200, 300, 1000, 5
	srv := storagetest.Start(b)
	client := redis.NewClient(&redis.Options{Addr: srv.Addr()})
	defer client.Close()
	p := startServer(b, "heliograph", srv.Addr())
	p.connect(b, sockets, "SUB positions ack=1")
	rate := func(size int) float64 {
		begun, begin := time.Now(), p.count.Load()
		for i := range messages {
			for p.count.Load()-begin < int64(i-7)*sockets {
				time.Sleep(20 * time.Microsecond)
			}
			payload := fmt.Sprintf(`"%07d %s"`, i%500, strings.Repeat("x", size))
			require.NoError(b, client.Publish(context.Background(), "positions", payload).Err())
		}
		for p.count.Load()-begin < messages*sockets {
			time.Sleep(20 * time.Microsecond)
		}
		return messages / time.Since(begun).Seconds()
	}
	for b.Loop() {
		var alone, beside []float64
		for range turns {
			alone = append(alone, rate(1000))
		}
		for range stalled {
			p.dialWith(b, narrow, "SUB positions")
		}
		rate(8000) // fills their buffers
		for range turns {
			beside = append(beside, rate(1000))
		}
		b.ReportMetric(median(beside)/median(alone), "of-alone")
		b.ReportMetric(median(alone), "alone/s")
	}
}

// BenchmarkGatewayReturn measures how often Redis is asked when 10,000 clients come at once
// with SUB snapshot=1.
func BenchmarkGatewayReturn(b *testing.B) {
	const sockets = 10_000
	srv := storagetest.Start(b)
	client := redis.NewClient(&redis.Options{Addr: srv.Addr()})
	defer client.Close()
	require.NoError(b, client.HSet(context.Background(), "heliograph", "f", "1").Err())
	reads := func() int {
		stats, err := client.Info(context.Background(), "commandstats").Result()
		require.NoError(b, err)
		_, rest, _ := strings.Cut(stats, "cmdstat_hvals:calls=")
		calls, _, _ := strings.Cut(rest, ",")
		n, _ := strconv.Atoi(calls)
		return n
	}
	for b.Loop() {
		p := startServer(b, "heliograph", srv.Addr())
		conns := make([]net.Conn, sockets)
		for i := range conns {
			var in *bufio.Reader
			conns[i], in = p.dial(b, "")
			go p.read(conns[i], in)
		}
		before, begun := reads(), time.Now()
		for _, conn := range conns {
			require.NoError(b, ws.WriteFrame(conn, ws.MaskFrame(ws.NewTextFrame([]byte("SUB heliograph snapshot=1")))))
		}
		for p.count.Load() < 3*sockets { // a greeting, the value, and the answer to SUB
			time.Sleep(time.Millisecond)
		}
		b.ReportMetric(float64(reads()-before), "reads")
		b.ReportMetric(time.Since(begun).Seconds(), "s")
	}
}

// latencies are the times that messages took. A message begins with the time when it was
// published.
type latencies struct {
	mu   sync.Mutex
	took []float64
}

func (l *latencies) read(conn net.Conn, in io.Reader) {
	for {
		h, err := ws.ReadHeader(in)
		if err != nil {
			return
		}
		payload := make([]byte, h.Length)
		if _, err := io.ReadFull(in, payload); err != nil {
			return
		}
		if h.OpCode == ws.OpPing {
			_ = ws.WriteFrame(conn, ws.MaskFrame(ws.NewPongFrame(nil)))
			continue
		}
		_, content, _ := strings.Cut(string(payload), `"content": "`)
		at, _, _ := strings.Cut(content, " ")
		sent, _ := strconv.ParseInt(at, 10, 64)
		l.mu.Lock()
		l.took = append(l.took, float64(sinceStart()-sent))
		l.mu.Unlock()
	}
}

func (l *latencies) wait(n int) {
	for {
		l.mu.Lock()
		done := len(l.took) >= n
		l.mu.Unlock()
		if done {
			return
		}
		time.Sleep(100 * time.Microsecond)
	}
}

// p99 publishes messages of 32 kB, each once all sockets have received the previous one:
// enough to fill the buffers of the kernel and the server for a socket that does not
// read.
func (l *latencies) p99(b testing.TB, client *redis.Client, sockets, messages int) float64 {
	l.mu.Lock()
	l.took = nil
	l.mu.Unlock()
	for i := range messages {
		payload := fmt.Sprintf(`"%d %s"`, sinceStart(), strings.Repeat("x", 32_000))
		require.NoError(b, client.Publish(context.Background(), "heliograph", payload).Err())
		l.wait((i + 1) * sockets)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	slices.Sort(l.took)
	return l.took[len(l.took)*99/100]
}
