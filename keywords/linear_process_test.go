//go:build unix

package keywords_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/keywords"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// memberAddr makes the test binary a dispatcher of the keywords of histories on the Redis
// at that address. It reads "set <keyword's index> <value>" from its standard input, and
// writes "set <value> done", "unchanged" or "unknown"; "ready", and "ended <error>".
const memberAddr = "HELIOGRAPH_TEST_MEMBER"

// memberLease is that of a dispatcher in a process of its own.
const memberLease = time.Second

func init() {
	addr := os.Getenv(memberAddr)
	if addr == "" {
		return
	}
	fmt.Println("ended", memberMain(addr))
	os.Exit(0)
}

func memberMain(addr string) error {
	cfg := storage.Config{Logger: slog.New(slog.DiscardHandler)}
	cfg.Redis.Addrs = []string{addr}
	pool, err := storage.Open(cfg)
	if err != nil {
		return err
	}
	d, err := keywords.NewDispatcher(pool, keywords.DispatcherConfig{Service: "stage", Lease: memberLease})
	if err != nil {
		return err
	}
	serveLinear(d, 10*time.Millisecond)
	go func() {
		<-d.Ready()
		fmt.Println("ready")
	}()
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer cancel()
		for scan := bufio.NewScanner(os.Stdin); scan.Scan(); {
			var at int
			var value string
			if _, err := fmt.Sscanf(scan.Text(), "set %d %s", &at, &value); err == nil {
				go memberSet(ctx, d, at, value)
			}
		}
	}()
	return d.Run(ctx)
}

func memberSet(ctx context.Context, d *keywords.Dispatcher, at int, value string) {
	ctx, cancel := context.WithTimeout(ctx, linearTimeout)
	defer cancel()
	outcome := "done"
	if err := keywords.Set(ctx, d, linear[at], value); err != nil {
		outcome = "unknown"
		if unchanged(err) {
			outcome = "unchanged"
		}
	}
	fmt.Printf("set %s %s\n", value, outcome)
}

// memberProcess is a dispatcher in a process of its own.
type memberProcess struct {
	*exec.Cmd
	in    io.Writer
	ready chan struct{} // closed: it serves
	ended chan string   // receives what it says last, and is closed

	mu   sync.Mutex
	sets map[string]chan<- string // under way, by value
}

// processes are the dispatchers of a workload, oldest first.
type processes struct {
	*workload
	srv *storagetest.Server

	mu  sync.Mutex
	all []*memberProcess
}

func (s *processes) start() *memberProcess {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), memberAddr+"="+s.srv.Addr())
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(s.t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(s.t, err)
	require.NoError(s.t, cmd.Start())
	m := &memberProcess{Cmd: cmd, in: in, ready: make(chan struct{}), ended: make(chan string, 1), sets: make(map[string]chan<- string)}
	go m.read(out)
	s.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-m.ended
		_ = cmd.Wait()
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, m)
	return m
}

// read reads what the process says until it ends.
func (m *memberProcess) read(out io.Reader) {
	defer close(m.ended)
	for scan := bufio.NewScanner(out); scan.Scan(); {
		word, rest, _ := strings.Cut(scan.Text(), " ")
		switch word {
		case "ready":
			close(m.ready)
		case "ended":
			m.ended <- rest
		case "set":
			value, outcome, _ := strings.Cut(rest, " ")
			m.mu.Lock()
			if told := m.sets[value]; told != nil {
				told <- outcome
			}
			m.mu.Unlock()
		}
	}
}

// set has the process set a keyword. The call of the operation is before it is asked to,
// its return after it has said what became of it.
func (m *memberProcess) set(ctx context.Context, at int, value string) error {
	told := make(chan string, 1)
	m.mu.Lock()
	m.sets[value] = told
	_, err := fmt.Fprintf(m.in, "set %d %s\n", at, value)
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.sets, value)
	}()
	if err != nil {
		return err
	}
	select {
	case outcome := <-told:
		switch outcome {
		case "done":
			return nil
		case "unchanged":
			return errUnchanged
		}
		return errors.New(outcome)
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *processes) set(ctx context.Context, r *rand.Rand, at int, value string) error {
	s.mu.Lock()
	newest := s.all[max(0, len(s.all)-2):] // the others have ended long since
	m := newest[r.IntN(len(newest))]
	s.mu.Unlock()
	return m.set(ctx, at, value)
}

func (s *processes) await(what string, ch <-chan struct{}) {
	s.t.Helper()
	select {
	case <-ch:
	case <-time.After(patience):
		s.t.Fatal("not in time: ", what)
	}
}

func (s *processes) signal(m *memberProcess, sig syscall.Signal) {
	s.t.Helper()
	require.NoError(s.t, m.Process.Signal(sig))
}

// replace starts a standby, sends a signal to the dispatcher that serves, and waits until
// the standby serves.
func (s *processes) replace(m *memberProcess, sig syscall.Signal) (next *memberProcess) {
	next = s.start()
	time.Sleep(rand.N(300 * time.Millisecond))
	s.signal(m, sig)
	s.await("the standby serves", next.ready)
	return next
}

// processFaults are what befalls dispatchers and Redis, each by itself.
var processFaults = map[string]func(s *processes, serving *memberProcess) (next *memberProcess){
	"kill": func(s *processes, m *memberProcess) *memberProcess { return s.replace(m, syscall.SIGKILL) },
	"stop": func(s *processes, m *memberProcess) *memberProcess {
		next := s.replace(m, syscall.SIGSTOP)
		time.Sleep(rand.N(300 * time.Millisecond))
		s.signal(m, syscall.SIGCONT)
		select {
		case why := <-m.ended:
			require.Contains(s.t, why, string(keywords.CodeFenced))
		case <-time.After(patience):
			s.t.Fatal("a dispatcher that was replaced goes on")
		}
		return next
	},
	"sleep": func(s *processes, m *memberProcess) *memberProcess {
		s.signal(m, syscall.SIGSTOP)
		time.Sleep(memberLease + memberLease/2)
		s.signal(m, syscall.SIGCONT)
		return m
	},
	"cut": func(s *processes, m *memberProcess) *memberProcess {
		for range 5 {
			kind := []string{"normal", "pubsub"}[rand.IntN(2)]
			_ = s.pool.Redis().Do(context.Background(), "CLIENT", "KILL", "TYPE", kind, "SKIPME", "no").Err()
			time.Sleep(rand.N(100 * time.Millisecond))
		}
		return m
	},
	"flush": func(s *processes, m *memberProcess) *memberProcess {
		epoch, _ := s.epoch()
		s.Lose(func() { require.NoError(s.t, s.pool.Redis().FlushAll(context.Background()).Err()) }, func() { s.restored(epoch) })
		return m
	},
	"rollback": func(s *processes, m *memberProcess) *memberProcess {
		require.NoError(s.t, s.pool.Redis().Save(context.Background()).Err())
		s.serves() // which the snapshot lacks
		time.Sleep(rand.N(time.Second))
		epoch, _ := s.epoch()
		s.Lose(s.srv.Restart, func() { s.restored(epoch) })
		require.NoError(s.t, os.Remove(s.srv.File("dump.rdb")))
		return m
	},
}

// The keywords are linearizable where dispatchers are processes, which are killed and
// stopped, on a Redis that is restarted with an older snapshot, flushed, and cuts
// connections.
func TestHistoriesOfProcessesAreLinearizable(t *testing.T) {
	storagetest.Long(t)
	t.Parallel()
	cfg := storage.Config{Logger: slog.New(slog.DiscardHandler)} // faults are told by the thousand
	srv := storagetest.Start(t)
	cfg.Redis.Addrs = []string{srv.Addr()}
	pool := storagetest.Open(t, cfg)
	s := &processes{workload: &workload{t: t, pool: pool, pause: 20 * time.Millisecond}, srv: srv}
	s.setBy = s.set
	serving := s.start()
	s.await("the first dispatcher serves", serving.ready)
	stop := make(chan struct{})
	var clients sync.WaitGroup
	defer clients.Wait()
	end := sync.OnceFunc(func() { close(stop) })
	defer end()
	for range 8 {
		clients.Go(func() { s.client(rand.New(rand.NewPCG(rand.Uint64(), 0)), stop) })
	}
	var befell []string
	for begun := time.Now(); time.Since(begun) < 10*time.Second; {
		names := slices.Collect(maps.Keys(processFaults))
		rand.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
		for _, name := range names {
			s.serves()
			befell = append(befell, name)
			serving = processFaults[name](s, serving)
		}
	}
	s.serves()
	end()
	clients.Wait()
	s.serves()
	s.finish()
	require.NoError(t, s.check(), "after %v", befell)
	t.Logf("%d operations, %v", s.Len(), befell)
}
