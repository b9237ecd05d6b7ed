package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/heliograph/heliograph/storage/storagetest/history"
)

// allowed is by how much a soak may end above what it held at its first line. Keys and
// connections differ by what is under way.
var allowed = history.Bounds{Keys: 50, Connections: 50, Goroutines: 50, Heap: 64 << 20}

// soak prints a line in each interval and cuts all connections once in each. The last line
// is compared with the first.
func (r *rig) soak(ctx context.Context, o options, out io.Writer) error {
	var first history.Bounds
	for begun := time.Now(); time.Since(begun) < o.soak && ctx.Err() == nil; {
		sleep(ctx, o.every/2)
		r.disconnect()
		r.faults++
		sleep(ctx, o.every/2)
		r.calls.Trim(time.Now().Add(-2 * callTimeout)) // or the history would be what grows
		now, err := r.measure(ctx)
		if err != nil {
			return err
		}
		if first == (history.Bounds{}) {
			first = now
		}
		r.bounds = first.Check(now, allowed)
		_, err = fmt.Fprintf(out, "%v: %d answered, %d lost, %d late, %d published, %d gaps; %d keys, %d connections, %d goroutines, %.1f MiB of heap\n",
			time.Since(begun).Round(time.Second), r.answered.Load(), r.lost.Load(), r.late.Load(), r.published.Load(), r.gaps.Load(),
			now.Keys, now.Connections, now.Goroutines, float64(now.Heap)/(1<<20))
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}

// measure measures what there is. On a cluster and with Sentinel keys and connections are
// those of one server.
func (r *rig) measure(ctx context.Context) (history.Bounds, error) {
	var err error
	for range 10 { // the connection may have been cut
		var now history.Bounds
		if now, err = history.Measure(ctx, r.pool.Redis()); err == nil {
			return now, nil
		}
		sleep(ctx, 100*time.Millisecond)
	}
	return history.Bounds{}, err
}
