package storagetest

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/storage"
)

// startTime bounds what a server may take to come up, go down or agree with
// others.
const startTime = 20 * time.Second

// Server is a redis-server process on the loopback interface, which keeps
// nothing on disk.
type Server struct {
	tb   testing.TB
	dir  string
	addr string
	args []string
	cmd  *exec.Cmd
	log  *bytes.Buffer
	done chan struct{} // the process has ended
}

// Start runs a redis-server with further command-line arguments, such as
// "--requirepass", "secret".
func Start(tb testing.TB, args ...string) *Server {
	tb.Helper()
	s := newServer(tb, args...)
	s.start()
	return s
}

func newServer(tb testing.TB, args ...string) *Server {
	tb.Helper()
	requireRedis(tb)
	port := FreePort(tb)
	s := &Server{tb: tb, dir: tb.TempDir(), addr: net.JoinHostPort("127.0.0.1", port)}
	s.args = append([]string{
		"--port", port, "--bind", "127.0.0.1", "--dir", s.dir,
		"--save", "", "--appendonly", "no", "--loglevel", "warning",
	}, args...)
	tb.Cleanup(s.Kill)
	return s
}

func requireRedis(tb testing.TB) {
	tb.Helper()
	if _, err := exec.LookPath("redis-server"); err == nil {
		return
	}
	if os.Getenv("HELIOGRAPH_REDIS") == "required" {
		tb.Fatal("no redis-server on the PATH, and HELIOGRAPH_REDIS=required")
	}
	tb.Skip("no redis-server on the PATH: this needs a real one")
}

// FreePort finds a port on which nothing listens. Redis wants its port plus
// 10,000 for a cluster's bus, and the kernel hands out the ports above 32,768 to
// clients: the range lies below both.
func FreePort(tb testing.TB) string {
	tb.Helper()
	for range 100 {
		port := strconv.Itoa(12_000 + rand.IntN(10_000))
		if l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", port)); err == nil {
			_ = l.Close()
			return port
		}
	}
	tb.Fatal("no free port")
	return ""
}

// start runs the process and waits until it answers.
func (s *Server) start() {
	s.tb.Helper()
	s.log = &bytes.Buffer{}
	s.cmd = exec.Command("redis-server", s.args...)
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	s.cmd.SysProcAttr = endsWithParent()
	if err := s.cmd.Start(); err != nil {
		s.tb.Fatal(err)
	}
	s.done = make(chan struct{})
	go func(cmd *exec.Cmd, done chan struct{}) {
		_ = cmd.Wait()
		close(done)
	}(s.cmd, s.done)
	s.await("it answers", func(ctx context.Context, c *redis.Client) bool {
		err := c.Ping(ctx).Err()
		return err == nil || redis.IsAuthError(err) // alive is enough
	})
}

// await polls the server until it is as wanted.
func (s *Server) await(what string, ok func(ctx context.Context, c *redis.Client) bool) {
	s.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	for ctx.Err() == nil {
		// A plain dial first: go-redis logs every dial that fails.
		if conn, err := net.Dial("tcp", s.addr); err == nil {
			_ = conn.Close()
			c := redis.NewClient(&redis.Options{Addr: s.addr, MaxRetries: -1, Protocol: 2, DisableIdentity: true})
			good := ok(ctx, c)
			_ = c.Close()
			if good {
				return
			}
		}
		select {
		case <-s.done:
			s.tb.Fatalf("redis-server %v has ended:\n%s", s.args, s.log)
		case <-time.After(20 * time.Millisecond):
		}
	}
	s.tb.Fatalf("redis-server %v: not within %v: %s", s.args, startTime, what)
}

// do runs commands on the server.
func (s *Server) do(commands func(ctx context.Context, c *redis.Client) error) {
	s.tb.Helper()
	c := redis.NewClient(&redis.Options{Addr: s.addr})
	defer c.Close()
	if err := commands(context.Background(), c); err != nil {
		s.tb.Fatal(err)
	}
}

// Addr returns host:port.
func (s *Server) Addr() string { return s.addr }

// Config returns the configuration of a pool on the server.
func (s *Server) Config() storage.Config {
	return storage.Config{Redis: redis.UniversalOptions{Addrs: []string{s.addr}}}
}

// File returns the path of a file in the server's folder.
func (s *Server) File(name string) string { return filepath.Join(s.dir, name) }

// Kill ends the process without a chance to say goodbye, and waits for its end.
func (s *Server) Kill() {
	if s.cmd == nil || s.cmd.Process == nil {
		return
	}
	_ = s.cmd.Process.Kill()
	<-s.done
}

// Restart kills the process, if it runs, and starts it again at the same
// address, empty.
func (s *Server) Restart() {
	s.tb.Helper()
	s.Kill()
	s.start()
}

// Pause stops the process as a machine that hangs would; connections stay open.
func (s *Server) Pause() { s.signal(signalPause) }

// Resume ends Pause.
func (s *Server) Resume() { s.signal(signalResume) }

func (s *Server) signal(sig syscall.Signal) {
	s.tb.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.tb.Fatal(fmt.Errorf("redis-server: %v: %w", sig, err))
	}
}
