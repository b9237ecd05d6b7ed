package keywords

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/internal/busio"
	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/storage"
)

// maxCommit and maxCommitBytes bound what one script writes, save the values of a
// ModifyMany, which are committed together. More would not be faster, and Redis
// serves no other client meanwhile. Redis closes a subscriber that is 32 MB behind.
const (
	maxCommit      = 64
	maxCommitBytes = 4 << 20
)

// committer writes a dispatcher's values to Redis: in order, in batches, each with
// one script that checks the lease. It holds the newest value of each keyword, and
// writes all of them again when Redis has lost some. Its run method is one goroutine.
type committer struct {
	lease          *lease
	definitions    *publisher
	served         map[string]*served
	channel        string
	maxStaged      int
	maxStagedBytes int
	log            *slog.Logger
	stats          *dispatcherStats
	trouble        *lastError // why the dispatcher waits for Redis

	client    redis.UniversalClient // set by Run
	clustered bool
	external  *external // is told of our own writes, which cause keyspace events

	more     chan struct{}   // there is something to commit; holds one
	ended    chan struct{}   // closed: nothing can be committed any more
	end      func()          // closes it
	stopping <-chan struct{} // closed: Run ends

	// Of the goroutine that commits:
	script   commitScript
	batch    []staged  // numbered, and written until Redis answers
	giveUpAt time.Time // when run gives up, once the dispatcher stops

	mu      sync.Mutex
	epoch   uint64   // of the tenure in which values are numbered
	n       uint64   // how many were committed in it
	staged  []staged // not in batch yet, oldest first
	waiting int      // staged or in batch, without those that are written again
	bytes   int      // of those
	lost    bool     // Redis does not hold what was committed
	failure error    // why nothing can be committed any more
}

// served is a keyword that the dispatcher serves.
type served struct {
	def   Definition
	hooks Hooks[any]
	key   string  // of its value
	moves *served // shows the moves of Hooks.Move; nil: there is none
	shows bool    // it shows the moves of another keyword

	// By committer.mu:
	now       record // the newest value; without a revision until it is in a batch; at is 0: none
	canonical any    // of now
	committed record
	logged    Revision // of the newest line of its history, committed or in the batch
	waiting   int      // values that are staged and not committed
	seq       int      // counts the values that were staged
	events    keyEvents
}

// staged is a value on its way to Redis, and the writer that waits for it.
type staged struct {
	served    *served
	write     bool // or else only an answer, when all before it is committed
	again     bool // it was committed before, and Redis has lost it
	relog     bool // so was its line in the history
	acted     bool // its Write hook has run
	uncertain bool // it was sent, and Redis has not answered
	seq       int  // served.seq when it was staged
	rec       record
	prev      Revision // of the line before it in the history
	canonical any
	only      string     // revision that the keyword must have when this is staged; "": any
	with      int        // how many of those behind it must be committed with it
	pending   busio.Call // nil: none
	done      chan error // of Set; holds one
}

// logs reports whether the value gets a line in the history of its keyword.
func (st *staged) logs() bool {
	return st.write && (!st.again || st.relog) && st.served.def.History > 0
}

func (st *staged) size() int {
	return len(st.rec.text) + len(st.rec.source) + len(st.rec.remark) + len(st.rec.name) + 128
}

func newCommitter(d *Dispatcher) *committer {
	c := &committer{
		lease: d.lease, definitions: d.definitions, served: d.served, channel: d.channel,
		maxStaged: d.cfg.MaxStaged, maxStagedBytes: d.cfg.MaxStagedBytes, log: d.log, stats: &d.stats, trouble: &d.trouble, external: d.external, stopping: d.stopping,
		more: make(chan struct{}, 1), ended: make(chan struct{}),
	}
	c.end = sync.OnceFunc(func() { close(c.ended) })
	return c
}

// newest returns the newest value of a keyword, staged or committed, as a record and in
// its kind's Go type, which is nil if there is no value.
func (c *committer) newest(s *served) (record, any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return s.now, s.canonical
}

// stage makes the committer commit values, together and in order.
func (c *committer) stage(values ...staged) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.roomLocked(values); err != nil {
		return err
	}
	return c.enterLocked(values)
}

// enter is stage without the limits, for a modify whose hooks have run. Room was called
// before.
func (c *committer) enter(values []staged) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.enterLocked(values)
}

// room returns an error if values can't be staged.
func (c *committer) room(values []staged) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.roomLocked(values)
}

func (c *committer) roomLocked(values []staged) error {
	bytes := 0
	for i := range values {
		bytes += values[i].size()
	}
	switch {
	case c.failure != nil:
		return c.failure
	case c.waiting+len(values) > c.maxStaged:
		return fmt.Errorf("%w: DispatcherConfig.MaxStaged is %d", ErrQueueFull, c.maxStaged)
	case c.bytes+bytes > c.maxStagedBytes:
		return fmt.Errorf("%w: DispatcherConfig.MaxStagedBytes is %d", ErrQueueFull, c.maxStagedBytes)
	}
	return nil
}

func (c *committer) enterLocked(values []staged) error {
	if c.failure != nil {
		return c.failure
	}
	for i := range values {
		st := &values[i]
		if err := st.served.atLocked(st.only); err != nil {
			return err
		}
	}
	for i := range values {
		st := &values[i]
		st.with = len(values) - 1 - i
		c.waiting++
		c.bytes += st.size()
		if st.write {
			st.served.now, st.served.canonical = st.rec, st.canonical
			st.served.waiting++
			st.served.seq++
			values[i].seq = st.served.seq
		}
	}
	c.staged = append(c.staged, values...)
	signal(c.more)
	return nil
}

// atLocked returns an error if the keyword does not have the revision rev; if rev is empty,
// any is right. Of a value that is being committed the revision counts too: the script
// answers the writer, which may use it before settle runs. A value that is only staged has
// no revision. The lock is the committer's.
func (s *served) atLocked(rev string) error {
	if rev == "" || rev == s.now.rev.String() {
		return nil
	}
	text := fmt.Sprintf("the keyword has %s, not %s", s.committed.rev, rev)
	if s.waiting > 0 {
		text = fmt.Sprintf("the keyword is being set and will not keep %s", rev)
	}
	return &Error{Code: CodeRevision, Service: s.def.Service, Keyword: s.def.Name, Text: text}
}

// checkRevision returns an error if a keyword does not have the revision rev; if rev is
// empty, any is right.
func (c *committer) checkRevision(s *served, rev string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return s.atLocked(rev)
}

// run commits what is staged until stop is closed and nothing is left, or nothing can
// be committed any more.
func (c *committer) run(stop <-chan struct{}) {
	defer c.retire(nil)
	for try := 0; !closed(c.ended); {
		idle, err := c.step()
		switch {
		case idle:
			select {
			case <-c.more:
				runtime.Gosched() // see below
			case <-stop:
				return
			case <-c.ended:
			}
		case err == nil:
			try = 0
			// Requests come in bursts. Let the dispatcher stage the rest of one, so that it
			// is one batch: with 64 writers that is 1.2 times the modifies.
			runtime.Gosched()
		case isLost(err):
			c.lose()
		case isFenced(err):
			c.retire(c.lease.fenced())
		case errors.Is(err, redis.ErrClosed) || !c.pause(stop, &try, err):
			c.retire(ErrIndeterminate)
		}
	}
}

// step commits one batch, after it has begun another tenure where Redis has lost what
// was committed in this one. Idle reports that there was nothing to commit.
func (c *committer) step() (idle bool, err error) {
	if c.isLost() {
		if err := c.resume(); err != nil {
			return false, err
		}
	}
	if len(c.batch) == 0 {
		c.next()
	}
	if len(c.batch) == 0 {
		return true, nil
	}
	err = c.write(c.batch)
	if isUnowned(err) { // it has expired, or Redis has lost it: nothing was written
		lost, err := c.lease.renew(c.client, c.committed)
		if lost {
			c.lose()
		}
		return false, err
	}
	if err != nil {
		var reply redis.Error
		if !errors.As(err, &reply) {
			for i := range c.batch {
				c.batch[i].uncertain = true
			}
		}
		return false, err
	}
	c.settle()
	return false, nil
}

// next takes a batch from what is staged, and numbers its values.
func (c *committer) next() {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, bytes := 0, 0
	for n < len(c.staged) {
		whole := n > 0 && c.staged[n-1].with > 0
		if !whole && (n >= maxCommit || bytes >= maxCommitBytes) {
			break
		}
		bytes += c.staged[n].size()
		n++
	}
	c.batch = append(c.batch[:0], c.staged[:n]...)
	c.staged = slices.Delete(c.staged, 0, n)
	number := c.n
	for i := range c.batch {
		if st := &c.batch[i]; st.write {
			number++
			st.rec.rev = Revision{c.epoch, number}
			if !st.again && st.seq == st.served.seq {
				st.served.now.rev = st.rec.rev
			}
			if st.logs() {
				st.prev, st.served.logged = st.served.logged, st.rec.rev
			}
		}
	}
}

// settle ends a batch that is committed.
func (c *committer) settle() {
	var suspects []*served
	c.trouble.set(nil)
	c.mu.Lock()
	for i := range c.batch {
		st := &c.batch[i]
		if !st.again {
			c.waiting--
			c.bytes -= st.size()
		}
		if !st.write {
			continue
		}
		s := st.served
		c.n++
		c.stats.committed.Add(1)
		s.committed = st.rec
		if !st.again {
			s.waiting--
		}
		if s.waiting == 0 {
			s.now = s.committed
			if s.events.suspect {
				suspects = append(suspects, s)
			}
		}
	}
	c.mu.Unlock()
	for i := range c.batch {
		c.answer(&c.batch[i], nil)
	}
	clear(c.batch)
	c.batch = c.batch[:0]
	for _, s := range suspects {
		c.external.check(context.Background(), s, c.external.policy)
	}
}

// retire ends the committer: with why, unless it has ended before. It answers for all
// that is staged.
func (c *committer) retire(why error) {
	c.fail(why)
	c.mu.Lock()
	left := append(c.batch, c.staged...)
	c.batch, c.staged = nil, nil
	why = c.failure
	c.mu.Unlock()
	for i := range left {
		st, err := &left[i], why
		if st.uncertain || st.acted {
			err = ErrIndeterminate
		}
		c.answer(st, err)
	}
}

// fail stops staging and committing, with the error why; nil means [ErrClosed]. The
// committer's goroutine answers what is staged.
func (c *committer) fail(why error) {
	c.mu.Lock()
	if c.failure == nil {
		c.failure = why
		if why == nil {
			c.failure = ErrClosed
		}
	}
	c.mu.Unlock()
	if why != nil {
		c.end()
	}
}

// failed returns why nothing can be committed any more, or nil.
func (c *committer) failed() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failure
}

// pause waits before the next try to reach Redis. A dispatcher that stops gives up
// soon: then pause reports false.
func (c *committer) pause(stop <-chan struct{}, try *int, err error) bool {
	c.stats.retries.Add(1)
	c.trouble.set(err)
	if *try == 0 {
		c.log.Warn("keywords: commit failed, trying again", "error", err)
	}
	if closed(stop) || closed(c.stopping) {
		switch {
		case c.giveUpAt.IsZero():
			c.giveUpAt = time.Now().Add(stopTimeout)
		case time.Now().After(c.giveUpAt):
			return false
		}
	}
	select {
	case <-time.After(redisio.Backoff(*try)):
	case <-c.ended:
	}
	*try++
	return true
}

// answer sends the result to those who wait for a value.
func (c *committer) answer(st *staged, err error) {
	if st.done != nil {
		st.done <- err
	}
	switch {
	case st.pending == nil:
	case err != nil:
		st.pending.Answer(storage.Text, nil, wireError(err))
	case st.write && !c.clustered:
		st.pending.Packed()
	default:
		rev := st.rec.rev
		if !st.write {
			rev = c.revision(st.served)
		}
		st.pending.Answer(storage.Text, []byte(rev.String()), nil)
	}
}

// revision returns the revision at which a keyword is committed.
func (c *committer) revision(s *served) Revision {
	c.mu.Lock()
	defer c.mu.Unlock()
	return s.committed.rev
}

// committed returns the revision of the newest value that is committed.
func (c *committer) committed() Revision {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Revision{c.epoch, c.n}
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
