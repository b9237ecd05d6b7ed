package jobs

import (
	"context"
	"runtime"
	"slices"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/storage"
)

// sender sends the commands of many goroutines over one connection, in batches: one is
// under way, and what arrives meanwhile is the next. Commands are sent at most once.
type sender struct {
	pool *storage.Pool
	end  func() error // called when the pool is closed

	mu     sync.Mutex
	client redis.UniversalClient // made by the first do
	disown func()
	queued []*sending
	busy   bool // run runs
	closed bool
	idle   sync.WaitGroup // run
}

// sending is the commands of one do.
type sending struct {
	cmds  []redisio.OnceCmd
	taken bool          // into a batch
	done  chan struct{} // the commands have their answers
}

// maxBatch is how many commands a batch has, unless one do has more.
const maxBatch = 512

// do sends commands and waits for their answers. It returns an error instead if there
// are none: errUnsettled if ctx has ended and the commands may be carried out, ctx's if
// they were not sent, or ErrClosed.
func (s *sender) do(ctx context.Context, cmds []redisio.OnceCmd) error {
	it := &sending{cmds: cmds, done: make(chan struct{})}
	if err := s.add(it); err != nil {
		return err
	}
	select {
	case <-it.done:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if it.taken {
		return errUnsettled
	}
	s.queued = slices.DeleteFunc(s.queued, func(other *sending) bool { return other == it })
	return ctx.Err()
}

func (s *sender) add(it *sending) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	if s.client == nil {
		disown, err := redisio.Of(s.pool).Own(s.end)
		if err != nil {
			return err
		}
		s.client, s.disown = redisio.Of(s.pool).Dedicated(), disown
		redisio.MarkDials(s.client)
	}
	s.queued = append(s.queued, it)
	if !s.busy {
		s.busy = true
		s.idle.Add(1)
		go s.run()
	}
	return nil
}

// run sends batches while there is something to send.
func (s *sender) run() {
	defer s.idle.Done()
	for batch := s.next(); batch != nil; batch = s.next() {
		p := s.client.Pipeline()
		for _, it := range batch {
			for _, cmd := range it.cmds {
				_ = p.Process(context.Background(), cmd)
			}
		}
		_, _ = p.Exec(context.Background()) // every command has its own error
		for _, it := range batch {
			close(it.done)
		}
		runtime.Gosched() // those that submit again at once are in the next batch
	}
}

func (s *sender) next() (batch []*sending) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for n := 0; len(s.queued) > 0 && n < maxBatch; {
		it := s.queued[0]
		s.queued[0], s.queued = nil, s.queued[1:]
		it.taken = true
		n += len(it.cmds)
		batch = append(batch, it)
	}
	s.busy = batch != nil
	return batch
}

// close waits for what was added.
func (s *sender) close() {
	s.mu.Lock()
	first := !s.closed
	s.closed = true
	s.mu.Unlock()
	s.idle.Wait()
	if first && s.client != nil {
		s.disown()
		_ = s.client.Close()
	}
}
