package gateway

import (
	"context"
	"math"
	"strconv"
	"strings"

	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/pubsub"
	"github.com/heliograph/heliograph/storage"
)

// snapshot is the hash of a channel's name, read once for all followers that wait for it
// and, for Limits.SnapshotAge, for those that come later. Their cursors are set to where the
// log ended before the read; the mark says which messages from there on the hash has.
type snapshot struct {
	at      uint64        // the end of the log before the read
	expires int64         // when no further follower gets it, as Handler.elapsed tells; guarded by channel.mu
	done    chan struct{} // closed with what follows

	seq    int64 // the mark: the number of the last message before the read; 0: unknown
	values []*Message
	cost   float64
	err    error
}

// snapshot returns a snapshot for the follower, and sets its cursor.
func (f *follower) snapshot(ctx context.Context) (*snapshot, error) {
	s := f.joinSnapshot()
	select {
	case <-s.done:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	f.c.debit(s.cost)
	if s.err != nil {
		return nil, s.err
	}
	f.c.mu.Lock()
	f.seq = s.seq
	f.c.mu.Unlock()
	return s, nil
}

// joinSnapshot returns the snapshot of the channel, or a new one if it has none or the log
// no longer has what was published since.
func (f *follower) joinSnapshot() *snapshot {
	ch := f.ch
	age := ch.hub.h.cfg.Limits.SnapshotAge
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	ch.mu.Lock()
	defer ch.mu.Unlock()
	ch.dropSnapshotLocked()
	s := ch.snap
	if s == nil || s.at < ch.log.tail {
		s = &snapshot{at: ch.log.next, expires: math.MaxInt64, done: make(chan struct{})}
		if age > 0 {
			ch.snap = s
		}
		ch.hub.h.tasks.Go(func() {
			ch.take(s)
			ch.mu.Lock()
			defer ch.mu.Unlock()
			if s.expires = ch.hub.h.elapsed(); s.err == nil {
				s.expires += int64(age)
			}
		})
	}
	f.at = s.at
	ch.seeks++
	return s
}

// dropSnapshotLocked forgets the snapshot if it has expired. The lock is held.
func (ch *channel) dropSnapshotLocked() {
	if ch.snap != nil && ch.snap.expires <= ch.hub.h.elapsed() {
		ch.snap = nil
	}
}

// take takes a snapshot.
func (ch *channel) take(s *snapshot) {
	defer close(s.done)
	h := ch.hub.h
	ctx, cancel := context.WithTimeout(h.ctx, h.cfg.Limits.Command)
	defer cancel()
	var values []string
	if values, s.seq, s.cost, s.err = h.snapshot(ctx, ch.name); s.err != nil {
		return
	}
	for _, value := range values {
		m := newMessage(ch.name, ch.name, []byte(value))
		m.kind = KindValue
		s.values = append(s.values, m)
	}
}

// send sends the snapshot to a follower, while it is one, and returns the number of values
// that the filters left.
func (s *snapshot) send(f *follower, r Request) (sent int, err error) {
	c := f.c
	for _, m := range s.values {
		if m = c.filter(m); m == nil {
			continue
		}
		if r.Ref != nil {
			m = m.withRef(r.Ref)
		}
		if c.follower(f.ch.name) != f {
			return sent, errLeft
		}
		if err := c.reply(m.compiled(c.v)); err != nil {
			return sent, err
		}
		sent++
	}
	return sent, nil
}

// snapshot reads a hash, and returns the number of the last message that Redis sent before
// the hash was read; 0: the source does not know.
func (h *Handler) snapshot(ctx context.Context, name string) (values []string, seq int64, cost float64, err error) {
	if h.marker == nil {
		values, cost, err = h.hash(ctx, name, "", "", "")
		return values, 0, cost, err
	}
	channel, token, seen, err := h.marker.mark(ctx)
	if err != nil {
		return nil, 0, 0, err
	}
	defer h.marker.unmark(token)
	if values, cost, err = h.hash(ctx, name, "", channel, token); err != nil {
		return nil, 0, cost, err
	}
	select {
	case seq = <-seen:
		return values, seq, cost, nil
	case <-ctx.Done():
		return nil, 0, cost, ctx.Err()
	}
}

// marker is implemented by a Source that knows which publications preceded a read of
// a hash: the script that reads it publishes a mark.
type marker interface {
	mark(ctx context.Context) (channel, token string, seen <-chan int64, err error)
	unmark(token string)
}

// mark returns a token to be published on a channel. seen receives its number among the
// messages from Redis.
func (s *redisSource) mark(ctx context.Context) (channel, token string, seen <-chan int64, err error) {
	if err := s.listenForMarks(ctx); err != nil {
		return "", "", nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.marked++
	token = strconv.Itoa(s.marked)
	ch := make(chan int64, 1)
	s.marks[token] = ch
	return s.markChannel, token, ch, nil
}

// listenForMarks subscribes to the channel of marks, at the first mark.
func (s *redisSource) listenForMarks(ctx context.Context) error {
	s.listening.Lock()
	defer s.listening.Unlock()
	if s.marking != nil && s.marking.Err() == nil {
		return nil
	}
	parts := []string{"gateway", strconv.Itoa(redisio.Of(s.h.pool).Database()), "mark", s.h.id}
	channel, err := s.client.Pool().Key(parts...)
	if err != nil {
		return err
	}
	topic := pubsub.NewTopic[[]byte](strings.Join(parts, ":")).WithCodec(storage.Raw)
	listener, err := pubsub.Listen(ctx, s.client, topic, s.seen)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.marking, s.markChannel = listener, channel
	return nil
}

func (s *redisSource) unmark(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.marks, token)
}

func (s *redisSource) seen(_ context.Context, m pubsub.Message[[]byte]) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ch := s.marks[string(m.Value)]; ch != nil && m.Err == nil {
		ch <- m.Seq
		delete(s.marks, string(m.Value))
	}
	return nil
}
