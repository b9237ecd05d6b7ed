package keywords

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/pubsub"
	"github.com/heliograph/heliograph/storage"
)

// ExternalWrites says what a dispatcher does about values that others write into
// Redis, or deletes: redis-cli, or a program that knows no dispatchers.
type ExternalWrites uint8

const (
	// ExternalIgnore does nothing: what was written is read, and not announced, until
	// the keyword is set again. Redis need not tell of it.
	ExternalIgnore ExternalWrites = iota
	// ExternalAccept sets the keyword to what was written, without hooks, if that is a
	// value of it and the keyword is not read-only, and reverts it otherwise.
	ExternalAccept
	// ExternalRevert writes the value of the keyword again.
	ExternalRevert
)

// notifyFlags are the classes of keyspace events that tell of all that can happen
// to a value: hashes, generic commands, expiry, eviction, and a SET over it.
const notifyFlags = "Khgxe$"

// external handles what others write into the values of a dispatcher, by its policy.
type external struct {
	policy      ExternalWrites
	pool        *storage.Pool
	service     service
	served      map[string]*served
	commits     *committer
	definitions *publisher
	client      redis.UniversalClient // set by Run
	value       func(s *served, v any, was record, by string) staged
	log         *slog.Logger
	stats       *dispatcherStats

	mu               sync.Mutex
	notificationsErr error // why Redis does not tell what others write
}

// keyEvents is what is known of the keyspace events of a value.
type keyEvents struct {
	expected int  // of our own writes, still to come
	suspect  bool // somebody else may have written while we did
}

// probeTimeout is how long Redis may take to tell of what was just written.
const probeTimeout = time.Second

// probeInterval is between two tries to be told what others write.
const probeInterval = 5 * time.Second

// Notifications returns nil if Redis tells the dispatcher what others write, or
// nobody has asked for that, or [ErrNotificationsUnavailable] with what an admin
// must do. It knows once Ready is closed. Within seconds after an admin has set the
// flags the error is gone, and all that was written meanwhile is looked at; a channel
// that was allowed late is for the next Run.
func (d *Dispatcher) Notifications() error {
	return d.external.unavailable()
}

func (e *external) unavailable() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.notificationsErr
}

// listen has Redis tell what others write, until the function that it returns is
// called.
func (e *external) listen(ctx context.Context) (end func()) {
	if e.policy == ExternalIgnore {
		return func() {}
	}
	note := func(err error) {
		e.log.Warn("keywords: what others write goes unseen", "error", err)
		e.mu.Lock()
		e.notificationsErr = err
		e.mu.Unlock()
	}
	ps, err := pubsub.NewClient(e.pool, pubsub.Config{})
	if err != nil {
		note(err)
		return func() {}
	}
	closing := func() { _ = ps.Close() }
	canary := make(chan struct{}, 1)
	own := e.service.bare + ":v:" // a KeyEvents has the pool's prefix put before it
	_, err = pubsub.Listen(ctx, ps, pubsub.NewKeyEvents(own+"*"), func(ctx context.Context, m pubsub.Message[string]) error {
		name, ours := strings.CutPrefix(m.Channel, own)
		switch {
		case errors.Is(m.Err, pubsub.ErrGap):
			_ = e.enableNotifications(ctx) // a server that was restarted has forgotten it
			e.checkAll(ctx)                // nor has it told of what was written meanwhile
		case m.Err != nil || !ours:
		case strings.HasPrefix(name, "-"):
			signal(canary)
		default:
			e.onKeyEvent(ctx, name)
		}
		return nil
	})
	if err != nil { // an ACL that does not let us, as a rule
		note(fmt.Errorf("%w: %w: the user needs &__keyspace@%d__:%s*, spelt out", ErrNotificationsUnavailable, err, redisio.Of(e.pool).Database(), e.service.value("")))
		return closing
	}
	if err = e.probe(ctx, canary); err == nil || ctx.Err() != nil {
		return closing
	}
	note(err)
	stop := background(func(stop <-chan struct{}) {
		for {
			select {
			case <-stop:
				return
			case <-time.After(probeInterval):
			}
			if e.probe(ctx, canary) == nil {
				e.mu.Lock()
				e.notificationsErr = nil
				e.mu.Unlock()
				e.checkAll(ctx)
				return
			}
		}
	})
	return func() { stop(); closing() }
}

// probe tries whether Redis tells what others write: where CONFIG is refused it
// can't be asked.
func (e *external) probe(ctx context.Context, canary <-chan struct{}) error {
	refused := e.enableNotifications(ctx)
	key := e.service.value("-" + rand.Text()[:8])
	if err := e.client.Set(ctx, key, "", probeTimeout).Err(); err != nil {
		return redisio.Normalize(ctx, err)
	}
	select {
	case <-canary:
		return nil
	case <-time.After(probeTimeout):
		return fmt.Errorf("%w: an admin must add the flags %s; where there are none yet, by CONFIG SET notify-keyspace-events %[2]s (%[3]v)", ErrNotificationsUnavailable, notifyFlags, refused)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// enableNotifications adds the flags that are missing on each server, and takes none away. Its
// error has the command that was refused.
func (e *external) enableNotifications(ctx context.Context) error {
	one := func(ctx context.Context, node *redis.Client) error {
		now, err := node.ConfigGet(ctx, "notify-keyspace-events").Result()
		if err != nil {
			return fmt.Errorf("CONFIG GET notify-keyspace-events: %w", err)
		}
		flags := now["notify-keyspace-events"]
		want := flags
		for _, flag := range notifyFlags {
			all := flag != 'K' && strings.Contains(flags, "A") // of these classes
			if !all && !strings.ContainsRune(flags, flag) {
				want += string(flag)
			}
		}
		if want == flags {
			return nil
		}
		if err := node.ConfigSet(ctx, "notify-keyspace-events", want).Err(); err != nil {
			return fmt.Errorf("CONFIG SET notify-keyspace-events %s: %w", want, err)
		}
		return nil
	}
	switch c := e.client.(type) {
	case *redis.ClusterClient:
		return c.ForEachMaster(ctx, one)
	case *redis.Client:
		return one(ctx, c)
	}
	return nil
}

// onKeyEvent handles a keyspace event of a value. Our own writes cause events too: as
// many as are expected are let pass.
func (e *external) onKeyEvent(ctx context.Context, name string) {
	s := e.served[name]
	if s == nil {
		return
	}
	e.commits.mu.Lock()
	own := s.events.expected > 0
	if own {
		s.events.expected--
	}
	e.commits.mu.Unlock()
	if !own {
		e.check(ctx, s, e.policy)
	}
}

// expect counts the events that a batch will cause, so that they are not taken for
// another program's.
func (e *external) expect(batch []staged) {
	if e.policy == ExternalIgnore || e.unavailable() != nil {
		return
	}
	e.commits.mu.Lock()
	defer e.commits.mu.Unlock()
	for i := range batch {
		if st := &batch[i]; st.write {
			st.served.events.expected++
		}
	}
}

// expectNone has the next events of a batch looked at, whoever caused them.
func (e *external) expectNone(batch []staged) {
	e.commits.mu.Lock()
	defer e.commits.mu.Unlock()
	for i := range batch {
		if st := &batch[i]; st.write {
			st.served.events.expected = 0
		}
	}
}

// checkAll compares all values, and has all events looked at that come next,
// whoever caused them.
func (e *external) checkAll(ctx context.Context) {
	e.commits.mu.Lock()
	for _, s := range e.served {
		s.events.expected = 0
	}
	e.commits.mu.Unlock()
	for _, s := range e.served {
		e.check(ctx, s, e.policy)
	}
}

// check reads a value, and handles one that this dispatcher has not written, by a
// policy.
func (e *external) check(ctx context.Context, s *served, policy ExternalWrites) {
	for ctx.Err() == nil && !e.tryCheck(ctx, s, policy) {
	}
}

// tryCheck is one try of check. It reports false if the dispatcher has written the
// value meanwhile: what was read may be older.
func (e *external) tryCheck(ctx context.Context, s *served, policy ExternalWrites) bool {
	e.commits.mu.Lock()
	before := s.committed
	e.commits.mu.Unlock()
	fields, err := e.client.HMGet(ctx, e.service.value(s.def.Name), valueFields...).Result()
	var reply redis.Error
	if err != nil && !errors.As(err, &reply) { // a key of another type is an external write too
		return true
	}
	there, ok := readRecord(s.def.Name, fields)
	e.commits.mu.Lock()
	committed, waiting := s.committed, s.waiting > 0
	s.events.suspect = waiting
	e.commits.mu.Unlock()
	switch {
	case before != committed:
		return false
	case waiting: // a commit is under way, and compares again
		return true
	case ok && there.text == committed.text && there.rev == committed.rev:
		return true
	case !ok && committed.at == 0:
		return true
	}
	if err != nil { // or HSET would be refused
		_ = e.definitions.drop(ctx, s.def.Name)
	}
	again := staged{served: s, write: true, rec: committed}
	again.canonical, _ = s.def.Parse(committed.text)
	if ok && policy == ExternalAccept && !s.def.ReadOnly {
		if v, err := s.def.Parse(there.text); err == nil && s.def.Check(v) == nil {
			again = e.value(s, v, committed, "redis")
		}
	}
	if again.rec.at == 0 { // there is no value to go back to
		_ = e.definitions.drop(ctx, s.def.Name)
		return true
	}
	e.stats.external.Add(1)
	if err := e.commits.stage(again); err != nil {
		e.log.Warn("keywords: an external write was not handled", "keyword", s.def.Name, "error", err)
	}
	return true
}
