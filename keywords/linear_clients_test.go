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

// workload is what clients and the dispatchers' own code do to the keywords, noted in a
// history.
type workload struct {
	*history
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

func (w *workload) operation(kind operationKind, at int) operation {
	op := operation{kind: kind, keyword: linear[at].Name()}
	if kind != opRead {
		op.value = fmt.Sprint("v", w.unique.Add(1))
	}
	return op
}

func (w *workload) read(k *keywords.Client, at int, last *keywords.Revision) error {
	ctx, cancel := context.WithTimeout(context.Background(), linearTimeout)
	defer cancel()
	op := w.begin(w.operation(opRead, at))
	v, err := keywords.Read(ctx, k, linear[at])
	switch {
	case err == nil:
		op.value, *last = v.V, v.Rev
		w.end(op, v.Rev)
	case errors.Is(err, keywords.ErrNoValue) || errors.Is(err, keywords.CodeUnknownKeyword):
		w.end(op, keywords.Revision{})
	}
	return err
}

func (w *workload) modify(k *keywords.Client, at int, last *keywords.Revision, conditional bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), linearTimeout)
	defer cancel()
	op := w.operation(opModify, at)
	var opts []keywords.ModifyOptions
	if only := *last; conditional && only != (keywords.Revision{}) {
		op.only = &only
		opts = append(opts, keywords.ModifyOptions{IfRevision: only})
	}
	began := w.begin(op)
	rev, err := keywords.Modify(ctx, k, linear[at], op.value, opts...)
	if err == nil {
		*last = rev
		w.end(began, rev)
	} else {
		w.failed(began, err)
	}
	return err
}

func (w *workload) set(r *rand.Rand, at int) {
	ctx, cancel := context.WithTimeout(context.Background(), linearTimeout)
	defer cancel()
	op := w.begin(w.operation(opSet, at))
	if err := w.setBy(ctx, r, at, op.value); err == nil {
		w.end(op, keywords.Revision{})
	} else {
		w.failed(op, err)
	}
}

// failed notes the error of a write.
func (w *workload) failed(op *operation, err error) {
	switch {
	case errors.Is(err, keywords.CodeRevision):
		w.refuse(op)
	case !unchanged(err):
		w.unknown(op)
	}
}

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
