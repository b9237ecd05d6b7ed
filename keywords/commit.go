package keywords

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/storage"
)

// maxCommit is how many values one script writes, save those of a ModifyMany,
// which go together. More would not be faster, and Redis does nothing else
// meanwhile.
const maxCommit = 64

// stage numbers values and has them committed, together and in order. The last
// of them takes the writer who waits along.
func (d *Dispatcher) stage(recs []staged) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.checkRoomLocked(len(recs)); err != nil {
		return err
	}
	d.stageLocked(inOneCommit(recs))
	return nil
}

// inOneCommit has values be committed by one script.
func inOneCommit(recs []staged) []staged {
	for i := range recs {
		recs[i].with = len(recs) - 1 - i
	}
	return recs
}

// room says why so many values can't be staged. The lock is held.
func (d *Dispatcher) checkRoomLocked(n int) error {
	switch {
	case d.lost != nil:
		return d.lost
	case len(d.staged)+n > d.cfg.MaxStaged:
		return fmt.Errorf("%w: DispatcherConfig.MaxStaged is %d", ErrQueueFull, d.cfg.MaxStaged)
	}
	return nil
}

// enter stages values without a limit. The lock is held.
func (d *Dispatcher) stageLocked(recs []staged) {
	for i := range recs {
		st := &recs[i]
		if st.write {
			d.newest++
			st.rec.rev = Revision{d.epoch, d.newest}
			st.served.now, st.served.canonical = st.rec, st.canonical
		}
	}
	d.staged = append(d.staged, recs...)
	signal(d.more)
}

// next appends what is to be committed next to batch. It stays staged until that
// is done.
func (d *Dispatcher) nextBatch(batch []staged) []staged {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := min(len(d.staged), maxCommit)
	for n > 0 && n < len(d.staged) && d.staged[n-1].with > 0 {
		n++
	}
	return append(batch, d.staged[:n]...)
}

// commit writes what is staged until stop is closed and nothing is left, or
// nothing can be written any more.
func (d *Dispatcher) commit(stop <-chan struct{}) {
	var batch []staged
	for try := 0; ; {
		if d.isForgotten() {
			err := d.beginEpoch()
			if unownedReply(err) {
				err = d.renewOnce(d.client)
			}
			if err == nil {
				try = 0
			} else if d.endCommit(nil, err) || !d.backOff(stop, &try, err) {
				return
			}
			continue
		}
		clear(batch)
		batch = d.nextBatch(batch[:0])
		if len(batch) == 0 {
			select {
			case <-d.more:
				continue
			case <-stop:
				return
			case <-d.ended:
				return
			}
		}
		err := d.runCommit(batch)
		if unownedReply(err) {
			if err = d.renewOnce(d.client); err == nil {
				continue
			}
		}
		switch {
		case err == nil:
			try = 0
			d.endCommit(batch, nil)
		case epochReply(err):
			d.noteForgotten()
		case d.endCommit(batch, err) || !d.backOff(stop, &try, err):
			return
		}
	}
}

// retire refuses what is staged from now on, and what nobody commits any more.
func (d *Dispatcher) refuseStaged() {
	d.mu.Lock()
	if d.lost == nil {
		d.lost = ErrClosed
	}
	left, lost := d.staged, d.lost
	d.staged = nil
	d.mu.Unlock()
	for i := range left {
		d.answer(&left[i], lost)
	}
}

// pause waits before the next try to reach Redis. A dispatcher that stops gives
// up soon: pause reports false, and what was staged may have been committed.
func (d *Dispatcher) backOff(stop <-chan struct{}, try *int, err error) bool {
	d.stats.retries.Add(1)
	d.trouble.set(err)
	if *try == 0 {
		d.log.Warn("keywords: commit failed, trying again", "error", err)
	}
	if closed(stop) || closed(d.stopped) {
		switch {
		case d.giveUpAt.IsZero():
			d.giveUpAt = time.Now().Add(stopTimeout)
		case time.Now().After(d.giveUpAt):
			d.end()
			d.endCommit(nil, err)
			return false
		}
	}
	select {
	case <-time.After(redisio.Backoff(*try)):
	case <-d.ended:
	}
	*try++
	return true
}

// expect counts the events that a batch will cause, so that they are not taken
// for somebody else's.
func (d *Dispatcher) expect(batch []staged) {
	if d.cfg.ExternalWrites == ExternalIgnore {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.notificationsErr != nil {
		return
	}
	for i := range batch {
		if st := &batch[i]; st.write {
			st.served.expected++
		}
	}
}

// expectNone has the next events of a batch looked at, whoever caused them.
func (d *Dispatcher) expectNone(batch []staged) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range batch {
		batch[i].served.expected = 0
	}
}

// settle ends a commit, and reports whether an error was for good: then
// everything that is staged ends with it.
func (d *Dispatcher) endCommit(batch []staged, err error) (final bool) {
	if err != nil && !fencedReply(err) && !errors.Is(err, redis.ErrClosed) && !closed(d.ended) {
		return false
	}
	var suspects []*served
	d.mu.Lock()
	if err == nil && d.lost != nil { // the lease was found lost meanwhile, and all were told
		d.mu.Unlock()
		return true
	}
	if err != nil {
		if d.lost == nil {
			d.lost = ErrIndeterminate
			if fencedReply(err) {
				d.lost = d.fenced()
			}
		}
		batch, d.staged = d.staged, nil
		err = d.lost
	} else {
		d.trouble.set(nil)
		for i := range batch {
			if st := &batch[i]; st.write {
				d.stats.committed.Add(1)
				st.served.committed = st.rec
				if st.served.suspect && st.served.now == st.rec {
					suspects = append(suspects, st.served)
				}
			}
		}
		d.staged = slices.Delete(d.staged, 0, len(batch))
	}
	d.mu.Unlock()
	for i := range batch {
		d.answer(&batch[i], err)
	}
	for _, s := range suspects {
		d.checkExternal(context.Background(), s, d.cfg.ExternalWrites)
	}
	if err != nil {
		d.end()
	}
	return err != nil
}

// tell ends the wait for a value.
func (d *Dispatcher) answer(st *staged, err error) {
	if st.done != nil {
		st.done <- err
	}
	switch {
	case st.pending == nil:
	case err != nil:
		st.pending.Answer(storage.Text, nil, wireError(err))
	case st.write && !d.clustered:
		st.pending.Packed()
	default:
		rev := st.rec.rev
		if !st.write {
			d.mu.Lock()
			rev = st.served.committed.rev
			d.mu.Unlock()
		}
		st.pending.Answer(storage.Text, []byte(rev.String()), nil)
	}
}

// forget notes that Redis has lost the epoch, or gone back behind it.
func (d *Dispatcher) noteForgotten() {
	d.mu.Lock()
	d.forgotten = true
	d.mu.Unlock()
	signal(d.more)
}

func (d *Dispatcher) isForgotten() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.forgotten
}

// beginEpoch begins an epoch, in which all current values are written again,
// before those that are staged.
func (d *Dispatcher) beginEpoch() error {
	ctx, cancel := context.WithTimeout(context.Background(), redisio.BlockTime)
	defer cancel()
	epoch := strings.ToLower(rand.Text()[:10])
	if err := d.publish(ctx); err != nil {
		return err
	}
	keys := []string{d.service.owner(d.cfg.Name), d.service.meta(d.cfg.Name)}
	if err := luaEpoch.Run(ctx, d.client, keys, d.token, epoch).Err(); err != nil {
		return redisio.Normalize(ctx, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	var again []staged
	for _, s := range d.served {
		if s.committed.at != 0 {
			again = append(again, staged{served: s, rec: s.committed, write: true})
		}
	}
	d.staged = append(again, d.staged...)
	d.stats.epochs.Add(1)
	d.epoch, d.newest, d.forgotten = epoch, 0, false
	for i := range d.staged {
		if st := &d.staged[i]; st.write {
			d.newest++
			st.rec.rev = Revision{epoch, d.newest}
			if st.served.now.at == st.rec.at && st.served.now.text == st.rec.text {
				st.served.now.rev = st.rec.rev
			}
		}
	}
	return nil
}

func signal(ch chan<- struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

func closed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}
