package keywords_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/keywords"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest/history"
)

// linearLease is that of the dispatchers. It is less than go-redis waits for a reply.
const linearLease = 2 * time.Second

// linear are the keywords of histories.
var linear = [2]keywords.Keyword[string]{
	keywords.Define("stage", "LIN0", keywords.Spec[string]{Persist: true}),
	keywords.Define("stage", "LIN1", keywords.Spec[string]{Persist: true}),
}

// serveLinear serves them. LIN1 has a Write hook that takes up to hook.
func serveLinear(d *keywords.Dispatcher, hook time.Duration) {
	keywords.Serve(d, linear[0], keywords.Hooks[string]{})
	keywords.Serve(d, linear[1], keywords.Hooks[string]{Write: func(context.Context, string) error {
		time.Sleep(rand.N(hook))
		return nil
	}})
}

// workload is what clients and the dispatchers' own code do to the keywords, noted in
// histories.
type workload struct {
	history.Registers
	leases history.Leases // a revision's epoch is the fence under which it was committed

	t     *testing.T
	pool  *storage.Pool
	pause time.Duration // of a client between two operations, at most
	// setBy makes a dispatcher set a keyword, perhaps one that is cut off or was replaced.
	setBy  func(ctx context.Context, r *rand.Rand, at int, value string) error
	unique atomic.Int64
}

// errUnchanged says that a write has changed nothing.
var errUnchanged = errors.New("nothing has changed")

// client runs operations of one client until stop is closed.
func (w *workload) client(r *rand.Rand, stop <-chan struct{}) {
	k := client(w.t, w.pool)
	var last [len(linear)]keywords.Revision
	for !isClosed(stop) {
		at := r.IntN(len(linear))
		switch dice := r.IntN(10); {
		case dice < 3:
			w.read(k, at, &last[at])
		case dice < 6:
			w.modify(k, at, &last[at], false)
		case dice < 8:
			if r.IntN(2) == 0 {
				w.read(k, at, &last[at])
			}
			w.modify(k, at, &last[at], true)
		default:
			w.set(r, at)
		}
		time.Sleep(time.Duration(r.Int64N(int64(w.pause))))
	}
}

// linearTimeout is that of an operation.
const linearTimeout = 3 * time.Second

// value returns a value that no other operation has.
func (w *workload) value() string { return fmt.Sprint("v", w.unique.Add(1)) }

func (w *workload) read(k *keywords.Client, at int, last *keywords.Revision) error {
	ctx, cancel := context.WithTimeout(context.Background(), linearTimeout)
	defer cancel()
	op := w.Read(linear[at].Name())
	v, err := keywords.Read(ctx, k, linear[at])
	switch {
	case err == nil:
		*last = v.Rev
		op.Returned(v.V, history.Revision(v.Rev))
	case errors.Is(err, keywords.ErrNoValue) || errors.Is(err, keywords.CodeUnknownKeyword):
		op.Returned("", history.Revision{})
	}
	return err
}

func (w *workload) modify(k *keywords.Client, at int, last *keywords.Revision, conditional bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), linearTimeout)
	defer cancel()
	var opts keywords.ModifyOptions
	if conditional {
		opts.IfRevision = *last
	}
	value := w.value()
	op := w.Write(linear[at].Name(), value, history.Revision(opts.IfRevision))
	committed := w.leases.Commit("stage")
	rev, err := keywords.Modify(ctx, k, linear[at], value, opts)
	if err != nil {
		failed(op, err)
		return err
	}
	*last = rev
	op.Done(history.Revision(rev))
	committed(rev.Epoch)
	return nil
}

func (w *workload) set(r *rand.Rand, at int) {
	ctx, cancel := context.WithTimeout(context.Background(), linearTimeout)
	defer cancel()
	value := w.value()
	op := w.Write(linear[at].Name(), value, history.Revision{})
	if err := w.setBy(ctx, r, at, value); err == nil {
		op.Done(history.Revision{})
	} else {
		failed(op, err)
	}
}

// failed notes the error of a write.
func failed(op *history.Operation, err error) {
	switch {
	case errors.Is(err, keywords.CodeRevision):
		op.Refused()
	case !unchanged(err):
		op.Unknown()
	}
}

// check returns what is wrong with the histories.
func (w *workload) check() error { return errors.Join(w.Check(), w.leases.Check()) }

// unchanged reports whether the error of a write says that nothing has changed, as the
// documentation has it.
func unchanged(err error) bool {
	var refused *keywords.Error
	return errors.As(err, &refused) || errors.Is(err, keywords.ErrNoDispatcher) || errors.Is(err, keywords.ErrQueueFull) || errors.Is(err, errUnchanged)
}

// serves waits until a dispatcher serves that can reach Redis, and has written its values.
func (w *workload) serves() {
	k := client(w.t, w.pool)
	var last keywords.Revision
	for begun := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		if w.modify(k, 0, &last, false) == nil {
			return
		}
		if time.Since(begun) > time.Minute {
			w.t.Error("no dispatcher serves")
			return
		}
	}
}

// epoch returns the epoch and the number of its newest value that Redis holds.
func (w *workload) epoch() (e, n string) {
	m := w.pool.Redis().HMGet(context.Background(), "kw:{stage}:meta:main", "e", "n").Val()
	if len(m) == 2 {
		e, _ = m[0].(string)
		n, _ = m[1].(string)
	}
	return e, n
}

// restored waits until what Redis has lost is written again. The clocks of two tenures
// differ, and a restore of so few values is one commit.
func (w *workload) restored(lost string) {
	for begun := time.Now(); time.Since(begun) < time.Minute; time.Sleep(5 * time.Millisecond) {
		if e, n := w.epoch(); e > lost && n != "0" {
			return
		}
	}
	e, n := w.epoch()
	w.t.Errorf("what Redis has lost is never restored: it has %s:%s after %s", e, n, lost)
}

// finish reads all keywords.
func (w *workload) finish() {
	w.t.Helper()
	k := client(w.t, w.pool)
	for i := range linear {
		var last keywords.Revision
		require.Eventually(w.t, func() bool { // the connection may have been cut
			err := w.read(k, i, &last)
			return err == nil || errors.Is(err, keywords.ErrNoValue) // no write of a short history may have succeeded
		}, time.Minute, 10*time.Millisecond)
	}
}
