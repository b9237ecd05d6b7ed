package peers

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/bus"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// natsProcess is an environment variable that makes the test binary a NATS server, which
// stores its data in the named directory.
const natsProcess = "HELIOGRAPH_PEERS_NATS"

func init() {
	dir := os.Getenv(natsProcess)
	if dir == "" {
		return
	}
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: dir})
	if err == nil {
		go s.Start()
		if !s.ReadyForConnections(10 * time.Second) {
			err = fmt.Errorf("not ready")
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(s.ClientURL())
	_, _ = os.Stdin.Read(make([]byte, 1)) // until the parent ends
	os.Exit(0)
}

// startNATS runs a NATS server and returns its URL.
func startNATS(b *testing.B) string {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), natsProcess+"="+b.TempDir())
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	require.NoError(b, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(b, err)
	require.NoError(b, cmd.Start())
	b.Cleanup(func() { _ = stdin.Close(); _ = cmd.Wait() })
	lines := bufio.NewScanner(stdout)
	require.True(b, lines.Scan())
	return lines.Text()
}

var Echo = bus.NewMethod[[]byte, []byte]("echo")

// natsEcho returns a request to a queue group. It encodes and decodes MsgPack at both
// ends, as a call does.
func natsEcho(b *testing.B, url string, members int) func([]byte) {
	subject := "echo" + strconv.Itoa(members)
	for range members {
		nc, err := nats.Connect(url)
		require.NoError(b, err)
		b.Cleanup(nc.Close)
		_, err = nc.QueueSubscribe(subject, "workers", func(m *nats.Msg) {
			var body []byte
			if err := storage.MsgPack.Unmarshal(m.Data, &body); err != nil {
				panic(err)
			}
			answer, err := storage.MsgPack.Marshal(body)
			if err != nil {
				panic(err)
			}
			_ = m.Respond(answer)
		})
		require.NoError(b, err)
		require.NoError(b, nc.Flush())
	}
	nc, err := nats.Connect(url)
	require.NoError(b, err)
	b.Cleanup(nc.Close)
	return func(body []byte) {
		args, err := storage.MsgPack.Marshal(body)
		if err != nil {
			panic(err)
		}
		m, err := nc.Request(subject, args, 30*time.Second)
		if err != nil {
			panic(err)
		}
		var result []byte
		if err := storage.MsgPack.Unmarshal(m.Data, &result); err != nil {
			panic(err)
		}
	}
}

// busWorkers runs n workers of a type, spread over several pools.
func busWorkers(b *testing.B, cfg storage.Config, site, typ string, workers, pools int) {
	for range pools {
		pool := storagetest.Open(b, cfg)
		for range workers / pools {
			w, err := bus.NewWorker(pool, bus.WorkerConfig{Site: site, Type: typ, Lease: time.Minute})
			require.NoError(b, err)
			bus.Handle(w, Echo, func(_ context.Context, body []byte) ([]byte, error) { return body, nil })
			go func() { _ = w.Run(context.Background()) }()
			<-w.Ready()
		}
	}
}

func busEcho(b *testing.B, cfg storage.Config, site, typ string) func([]byte) {
	c, err := bus.NewClient(storagetest.Open(b, cfg), bus.ClientConfig{Site: site})
	require.NoError(b, err)
	ctx := context.Background()
	return func(body []byte) {
		if _, err := bus.Call(ctx, c, bus.Group(typ), Echo, body); err != nil {
			panic(err)
		}
	}
}

// BenchmarkCall compares a typed call of 128 bytes to a group of two workers with NATS
// core request-reply to a queue group of two.
func BenchmarkCall(b *testing.B) {
	cfg, site := storagetest.BenchServer(b), newSite()
	busWorkers(b, cfg, site, "echo", 2, 2)
	ours, theirs := busEcho(b, cfg, site, "echo"), natsEcho(b, startNATS(b), 2)
	for _, callers := range []int{1, 8, 32, 64, 256} {
		b.Run("callers="+strconv.Itoa(callers), func(b *testing.B) { rivals(b, callers, "x-nats", ours, theirs) })
	}
}

// BenchmarkCallAmongOthers compares a call while 1,000 workers of other types are
// registered with a call without them.
func BenchmarkCallAmongOthers(b *testing.B) {
	cfg, site, empty := storagetest.BenchServer(b), newSite(), newSite()
	busWorkers(b, cfg, site, "echo", 2, 2)
	for i := range 20 {
		busWorkers(b, cfg, site, fmt.Sprint("other", i), 50, 1)
	}
	busWorkers(b, cfg, empty, "echo", 2, 2)
	rivals(b, 64, "x-without", busEcho(b, cfg, site, "echo"), busEcho(b, cfg, empty, "echo"))
}

// BenchmarkCallThousandWorkers compares a call to a type with 1,000 workers with NATS
// with 1,000 members of the queue group.
func BenchmarkCallThousandWorkers(b *testing.B) {
	cfg, site := storagetest.BenchServer(b), newSite()
	busWorkers(b, cfg, site, "echo", 1000, 2)
	rivals(b, 64, "x-nats", busEcho(b, cfg, site, "echo"), natsEcho(b, startNATS(b), 1000))
}

var sites atomic.Int64

func newSite() string { return fmt.Sprintf("peers-%d-%d", os.Getpid(), sites.Add(1)) }

// rivals runs two kinds of call in turn and reports the rate of the first, and the
// medians of its ratios to the second.
func rivals(b *testing.B, callers int, unit string, ours, theirs func([]byte)) {
	const turns = 9
	n := max(b.N/turns, callers)
	var rate, ratio, p50, p99 []float64
	for turn := range turns + 1 {
		our, their := storm(callers, n, ours), storm(callers, n, theirs)
		if turn == 0 {
			continue // to warm up
		}
		rate = append(rate, our.rate)
		ratio = append(ratio, our.rate/their.rate)
		p50 = append(p50, float64(our.p50)/float64(their.p50))
		p99 = append(p99, float64(our.p99)/float64(their.p99))
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(rate), "calls/s")
	b.ReportMetric(median(ratio), unit)
	b.ReportMetric(median(p50), "p50-x")
	b.ReportMetric(median(p99), "p99-x")
}

func median(x []float64) float64 {
	slices.Sort(x)
	return x[len(x)/2]
}

type weather struct {
	rate     float64 // calls a second
	p50, p99 time.Duration
}

// storm makes n calls by several callers.
func storm(callers, n int, call func([]byte)) weather {
	body := make([]byte, 128)
	took := make([][]time.Duration, callers)
	var left atomic.Int64
	left.Store(int64(n))
	var wg sync.WaitGroup
	start := time.Now()
	for i := range callers {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				begin := time.Now()
				call(body)
				took[i] = append(took[i], time.Since(begin))
			}
		})
	}
	wg.Wait()
	all := slices.Concat(took...)
	slices.Sort(all)
	return weather{float64(n) / time.Since(start).Seconds(), all[len(all)/2], all[len(all)*99/100]}
}
