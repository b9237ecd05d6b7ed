package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/storage"
)

// workerConfig makes the program a worker: it holds how to reach Redis.
const workerConfig = "HELIOGRAPH_RIG_WORKER"

// reach is how a process reaches Redis.
type reach struct {
	Addrs   []string
	Master  string
	Cluster bool
}

func (r reach) config() storage.Config {
	cfg := storage.Config{Logger: slog.New(slog.DiscardHandler)}
	cfg.Redis.Addrs, cfg.Redis.MasterName, cfg.Redis.IsClusterMode = r.Addrs, r.Master, r.Cluster
	return cfg
}

// task is the argument of a call.
type task struct {
	ID    int
	Takes time.Duration
}

var run = bus.NewMethod[task, int]("run")

// workerMain runs a worker that says on its standard output which calls it begins and ends.
func workerMain(config string) error {
	var r reach
	if err := json.Unmarshal([]byte(config), &r); err != nil {
		return err
	}
	pool, err := storage.Open(r.config())
	if err != nil {
		return err
	}
	w, err := bus.NewWorker(pool, bus.WorkerConfig{Type: "rig"})
	if err != nil {
		return err
	}
	bus.Handle(w, run, func(ctx context.Context, t task) (int, error) {
		fmt.Println("begin", t.ID)
		defer fmt.Println("end", t.ID)
		select {
		case <-time.After(t.Takes):
			return t.ID, nil
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	})
	go func() {
		<-w.Ready()
		fmt.Println("ready 0")
	}()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	return w.Run(ctx)
}

// process is a worker in a process of its own.
type process struct {
	*exec.Cmd
	ready chan struct{} // closed: callers know it
	ended chan struct{} // closed: it has ended

	mu     sync.Mutex
	killed bool
}

// launch starts a worker process, and passes what it says to said.
func launch(r reach, said func(p *process, word string, id int)) (*process, error) {
	config, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	p := &process{Cmd: exec.Command(os.Args[0]), ready: make(chan struct{}), ended: make(chan struct{})}
	p.Env = append(os.Environ(), workerConfig+"="+string(config))
	p.Stderr = os.Stderr
	out, err := p.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.Start(); err != nil {
		return nil, err
	}
	go p.read(out, said)
	return p, nil
}

func (p *process) read(out io.Reader, said func(p *process, word string, id int)) {
	defer close(p.ended)
	for lines := bufio.NewScanner(out); lines.Scan(); {
		word, id := "", 0
		if _, err := fmt.Sscan(strings.TrimSpace(lines.Text()), &word, &id); err != nil {
			continue
		}
		if word == "ready" {
			close(p.ready)
			continue
		}
		said(p, word, id)
	}
	_ = p.Wait()
}

// kill ends the process without a chance to say goodbye.
func (p *process) kill() {
	p.mu.Lock()
	p.killed = true
	p.mu.Unlock()
	_ = p.Process.Kill()
	<-p.ended
}

func (p *process) wasKilled() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.killed
}
