package keywords_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/keywords"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// archive is what an archiver has recorded of LOGGED. It survives its watches.
type archive struct {
	mu     sync.Mutex
	last   keywords.Revision
	values map[keywords.Revision]int
	gaps   []keywords.Gap
	wrong  []string
}

// record records until ctx ends. Pause is called after each event. A watch that begins
// before the dispatcher has defined its keywords again, which Redis has lost, finds none.
func (a *archive) record(ctx context.Context, k *keywords.Client, kw keywords.Keyword[int], queue int, pause func()) {
	for ctx.Err() == nil {
		if a.open() != nil { // it is told again
			a.gaps = a.gaps[:len(a.gaps)-1]
		}
		err := a.watch(ctx, k, kw, queue, pause)
		if ctx.Err() == nil && !errors.Is(err, keywords.CodeUnknownService) {
			a.note("ended: %v", err)
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func (a *archive) watch(ctx context.Context, k *keywords.Client, kw keywords.Keyword[int], queue int, pause func()) error {
	for ev, err := range keywords.Watch(ctx, k, kw, keywords.WatchOptions{Every: true, From: a.last, Queue: queue}) {
		if err != nil {
			return err
		}
		a.mu.Lock()
		switch gap := a.open(); ev.Kind {
		case keywords.EventGap:
			if ev.Gap.After != a.last || ev.Gap.Before.Compare(a.last) <= 0 || gap != nil {
				a.wrong = append(a.wrong, fmt.Sprintf("%v after %v", ev.Gap, a.last))
			}
			a.gaps = append(a.gaps, *ev.Gap)
		case keywords.EventStale, keywords.EventDisconnected, keywords.EventGone:
		default:
			if order := ev.Value.Rev.Compare(a.last); order < 0 || order == 0 && ev.Kind != keywords.EventGood || gap != nil && gap.Before != ev.Value.Rev {
				a.wrong = append(a.wrong, fmt.Sprintf("%v %v after %v, %v", ev.Kind, ev.Value.Rev, a.last, gap))
			}
			a.last = ev.Value.Rev
			a.values[a.last] = ev.Value.V
		}
		a.mu.Unlock()
		pause()
	}
	return nil
}

// open returns the gap that was told last, if the value after it was not told yet.
func (a *archive) open() *keywords.Gap {
	if n := len(a.gaps); n > 0 && a.gaps[n-1].Before.Compare(a.last) > 0 {
		return &a.gaps[n-1]
	}
	return nil
}

func (a *archive) note(format string, args ...any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.wrong = append(a.wrong, fmt.Sprintf(format, args...))
}

// check returns what is wrong, given the values that were set.
func (a *archive) check(set map[keywords.Revision]int) []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	wrong := slices.Clone(a.wrong)
	for rev, v := range set {
		got, ok := a.values[rev]
		lost := slices.ContainsFunc(a.gaps, func(g keywords.Gap) bool { return rev.Compare(g.After) > 0 && rev.Compare(g.Before) < 0 })
		switch {
		case ok && got != v:
			wrong = append(wrong, fmt.Sprintf("%v is %d, not %d", rev, got, v))
		case ok == lost:
			wrong = append(wrong, fmt.Sprintf("%v = %d: archived %v, told as lost %v", rev, v, ok, lost))
		}
	}
	return wrong
}

// Random faults: whatever was set is in the archive, or is told as lost.
func TestArchivesAreWhole(t *testing.T) {
	t.Parallel()
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { archiveUnderFaults(t, rand.New(rand.NewPCG(seed, 1))) })
		})
	}
}

func archiveUnderFaults(t *testing.T, rnd *rand.Rand) {
	network := storagetest.NewNetwork(t)
	wire := &cable{Network: network}
	pool := storagetest.Open(t, network.Config())
	kw, serve := logged([]int{5, 40, 5000}[rnd.IntN(3)])
	d := run(t, pool, keywords.DispatcherConfig{Lease: time.Second}, serve).wait()
	writer, k := client(t, pool), client(t, wire.pool(t))
	var writing sync.Mutex
	set, n := make(map[keywords.Revision]int), 0
	write := func(count int) {
		var wg sync.WaitGroup
		for range count {
			wg.Go(func() {
				writing.Lock()
				n++
				v := n
				writing.Unlock()
				rev, err := keywords.Modify(t.Context(), writer, kw, v)
				writing.Lock()
				defer writing.Unlock()
				if err == nil {
					set[rev] = v
				}
			})
			if rnd.IntN(3) == 0 {
				wg.Wait()
			}
		}
		wg.Wait()
	}
	write(3)
	first, err := keywords.History(t.Context(), writer, "stage", "LOGGED", 1)
	require.NoError(t, err)
	a := &archive{values: make(map[keywords.Revision]int), last: first[0].Rev}
	set = make(map[keywords.Revision]int) // what comes after it

	var stop context.CancelFunc
	var done chan struct{}
	begin := func() {
		var ctx context.Context
		ctx, stop = context.WithCancel(t.Context())
		done = make(chan struct{})
		queue, slow := []int{1, 2 << 10, 0}[rnd.IntN(3)], time.Duration(rnd.IntN(2))*3*time.Millisecond
		go func() { defer close(done); a.record(ctx, k, kw, queue, func() { time.Sleep(slow) }) }()
	}
	begin()
	var happened []string
	restore := snap(t, pool)
	for range 30 {
		what := []string{"write", "burst", "cut", "pull", "plug", "restart", "archiver", "snapshot", "rollback", "flush", "wait"}[rnd.IntN(11)]
		happened = append(happened, what)
		switch what {
		case "write":
			write(1 + rnd.IntN(10))
		case "burst":
			write(100)
		case "cut":
			network.Cut()
		case "pull":
			wire.pull()
		case "plug":
			wire.plug()
		case "restart":
			d.stop()
			require.NoError(t, <-d.ended)
			d = run(t, pool, keywords.DispatcherConfig{Lease: time.Second}, serve).wait()
		case "archiver":
			stop()
			<-done
			begin()
		case "snapshot":
			restore = snap(t, pool)
		case "rollback":
			restore()
			time.Sleep(2 * time.Second) // until the dispatcher, which alone knows what is lost, has noticed
		case "flush":
			for pool.Redis().FlushDB(t.Context()).Err() != nil {
				time.Sleep(10 * time.Millisecond)
			}
			time.Sleep(2 * time.Second)
		case "wait":
			time.Sleep(time.Duration(rnd.IntN(5000)) * time.Millisecond)
		}
	}
	wire.plug()
	rev, err := keywords.Modify(t.Context(), writer, kw, -1)
	for errors.Is(err, keywords.ErrIndeterminate) {
		rev, err = keywords.Modify(t.Context(), writer, kw, -1)
	}
	require.NoError(t, err)
	set[rev] = -1
	for range 600 {
		time.Sleep(100 * time.Millisecond)
		a.mu.Lock()
		last := a.last
		a.mu.Unlock()
		if last.Compare(rev) >= 0 {
			break
		}
	}
	stop()
	<-done
	require.Empty(t, a.check(set), strings.Join(happened, " "))
}
