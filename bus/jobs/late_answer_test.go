package jobs_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/bus/jobs"
	"github.com/heliograph/heliograph/storage/storagetest"
	"github.com/heliograph/heliograph/storage/storagetest/history"
)

// readerLine is the way of a worker to Redis. It can be cut, but for the connection on
// which the worker reads new jobs, whose answers are then held back.
type readerLine struct {
	network *storagetest.Network

	mu     sync.Mutex
	others map[*readerConn]bool
	held   chan struct{} // nil: the line is well; closed: answers arrive again
	refuse bool
}

type readerConn struct {
	net.Conn
	line *readerLine
}

func (l *readerLine) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refuse {
		return nil, &net.OpError{Op: "dial", Net: network, Err: errors.New("the line is cut")}
	}
	conn, err := l.network.Dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	c := &readerConn{conn, l}
	l.others[c] = true
	return c, nil
}

func (c *readerConn) Write(p []byte) (int, error) {
	if bytes.Contains(bytes.ToLower(p), []byte("xreadgroup")) {
		c.line.mu.Lock()
		delete(c.line.others, c)
		c.line.mu.Unlock()
	}
	return c.Conn.Write(p)
}

func (c *readerConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.line.mu.Lock()
	held := c.line.held
	c.line.mu.Unlock()
	if held != nil {
		<-held
	}
	return n, err
}

// cut cuts the line until mend is called. The answers to reads of jobs are held back until
// release is called.
func (l *readerLine) cut() (mend, release func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	held := make(chan struct{})
	l.held, l.refuse = held, true
	for c := range l.others {
		_ = c.Conn.Close()
	}
	return func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.held, l.refuse = nil, false
		}, func() {
			close(held)
		}
}

// A worker loses its lease while the answer to its read of a job is on the way. Another
// worker claims the job. The first has its lease again when the answer comes, and must not
// begin the job.
func TestAnAnswerThatIsOlderThanTheLeaseIsNotBegun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		network := storagetest.NewNetwork(t)
		t.Cleanup(func() { time.Sleep(2 * time.Second) }) // go-redis dials once a second until its pool is closed
		pool := storagetest.Open(t, network.Config())
		line := &readerLine{network: network, others: make(map[*readerConn]bool)}
		cfg := network.Config()
		cfg.Redis.Dialer = line.dial
		var h history.Jobs
		run := func(ctx context.Context, _ int) (int, error) {
			j, _ := jobs.FromContext(ctx)
			defer h.Run(ctx, j.ID)(true)
			select {
			case <-time.After(20 * time.Second):
			case <-ctx.Done():
			}
			return 0, ctx.Err()
		}
		wc := bus.WorkerConfig{Type: "w", Lease: 6 * time.Second, Drain: time.Second}
		serveAs(t, storagetest.Open(t, cfg), wc, jobs.QueueConfig{}, run)
		c := client(t, pool)
		time.Sleep(time.Second) // it waits for jobs
		mend, release := line.cut()
		_, err := jobs.Submit(t.Context(), c, "q", Task, 1)
		require.NoError(t, err)
		time.Sleep(time.Second) // the job is on its way to the first worker
		serveAs(t, pool, wc, jobs.QueueConfig{}, run)
		time.Sleep(7 * time.Second) // the lease of the first ends, and the second claims the job
		mend()
		time.Sleep(3 * time.Second) // the first renews its lease
		release()
		empty(t, pool, c)
		require.NoError(t, h.Check(func(string) bool { return false }))
	})
}
