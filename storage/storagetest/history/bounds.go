package history

import (
	"context"
	"fmt"
	"runtime"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// Bounds is what a service holds at a moment, and what must not grow for ever.
type Bounds struct {
	Keys        int64 // in the server's database
	Connections int64 // to the server, of all its clients
	Goroutines  int64 // of this process
	Heap        int64 // bytes in use of this process, after a garbage collection
}

// Measure returns what there is at this moment. It asks a single server.
func Measure(ctx context.Context, rdb redis.UniversalClient) (b Bounds, err error) {
	if b.Keys, err = rdb.DBSize(ctx).Result(); err != nil {
		return b, fmt.Errorf("history: measure keys: %w", err)
	}
	info, err := rdb.Info(ctx, "clients").Result()
	if err != nil {
		return b, fmt.Errorf("history: measure connections: %w", err)
	}
	for line := range strings.Lines(info) {
		if text, found := strings.CutPrefix(strings.TrimSpace(line), "connected_clients:"); found {
			b.Connections, _ = strconv.ParseInt(text, 10, 64)
		}
	}
	runtime.GC()
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	b.Heap, b.Goroutines = int64(mem.HeapAlloc), int64(runtime.NumGoroutine())
	return b, nil
}

// Check returns an error if now exceeds b by more than slack in anything.
func (b Bounds) Check(now, slack Bounds) error {
	var p problems
	for _, one := range []struct {
		name               string
		before, now, slack int64
	}{
		{"keys", b.Keys, now.Keys, slack.Keys},
		{"connections", b.Connections, now.Connections, slack.Connections},
		{"goroutines", b.Goroutines, now.Goroutines, slack.Goroutines},
		{"bytes of heap", b.Heap, now.Heap, slack.Heap},
	} {
		if one.now > one.before+one.slack {
			p.addf("%d %s, after %d before; %d more are allowed", one.now, one.name, one.before, one.slack)
		}
	}
	return p.err("bounds")
}
