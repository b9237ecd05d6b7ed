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
	// ExternalIgnore does nothing. Clients read what was written, without an event, until
	// the keyword is set again. It needs no keyspace notifications.
	ExternalIgnore ExternalWrites = iota
	// ExternalAccept sets the keyword to what was written, without hooks, if the keyword
	// allows that value and is not read-only. Otherwise it reverts the value.
	ExternalAccept
	// ExternalRevert writes the keyword's value again.
	ExternalRevert
)

// notifyFlags are the classes of keyspace events that cover every change of a value: hash
// commands, generic commands, expiry, eviction, and SET, which overwrites a hash.
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
	value       func(s *served, v any, now record, was any, by string) staged
	log         *slog.Logger
	stats       *dispatcherStats

	mu               sync.Mutex
	notificationsErr error // why Redis does not tell what others write
}

// keyEvents is what is known of the keyspace events of a value.
type keyEvents struct {
	expected int  // events that our own writes will still cause
	suspect  bool // another program may have written while a commit of ours was under way
}

// probeTimeout is how long probe waits for the event of its own write.
const probeTimeout = time.Second

// probeInterval is the time between two calls of probe while notifications are unavailable.
const probeInterval = 5 * time.Second

// Notifications returns nil if the dispatcher notices external writes, or ignores them as
// DispatcherConfig.ExternalWrites says. Otherwise it returns [ErrNotificationsUnavailable]
// with the command that an administrator must run. The result is valid once the channel
// of Ready is closed. The dispatcher tries again every 5 seconds: when the flags were set
// meanwhile, the error is nil, and earlier external writes are handled. A channel that
// the ACL allows only later is used by the next Run.
func (d *Dispatcher) Notifications() error {
	return d.external.unavailable()
}

func (e *external) unavailable() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.notificationsErr
}

// listen subscribes to the key events of the dispatcher's values, until the function that
// it returns is called.
func (e *external) listen(ctx context.Context) (end func()) {
	if e.policy == ExternalIgnore {
		return func() {}
	}
	note := func(err error) {
		e.log.Warn("keywords: external writes go unnoticed", "error", err)
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
	own := e.service.bare + ":v:" // NewKeyEvents adds the pool's prefix
	_, err = pubsub.Listen(ctx, ps, pubsub.NewKeyEvents(own+"*"), func(ctx context.Context, m pubsub.Message[string]) error {
		name, ours := strings.CutPrefix(m.Channel, own)
		switch {
		case errors.Is(m.Err, pubsub.ErrGap):
			_ = e.enableNotifications(ctx) // a restarted server has lost the flags
			e.checkAll(ctx)                // and sent no events meanwhile
		case m.Err != nil || !ours:
		case strings.HasPrefix(name, "-"):
			signal(canary)
		default:
			e.onKeyEvent(ctx, name)
		}
		return nil
	})
	if err != nil { // most often the ACL refuses the channel
		note(fmt.Errorf("%w: %w: the ACL user needs &__keyspace@%d__:%s*, in these words", ErrNotificationsUnavailable, err, redisio.Of(e.pool).Database(), e.service.value("")))
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

// probe writes a key of its own and waits for the event: where CONFIG is refused, that is
// the only way to find out whether Redis sends events.
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
		return fmt.Errorf("%w: an administrator must add the flags %s, as by CONFIG SET notify-keyspace-events %[2]s (%[3]v)", ErrNotificationsUnavailable, notifyFlags, refused)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// enableNotifications adds missing flags on each server and removes none. Its error has the
// command that was refused.
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

// onKeyEvent handles a keyspace event of a value. Our own writes cause events too: those
// that are expected are ignored.
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

// expectNone makes the next events of a batch's keywords count as external, since the batch
// may not have been written.
func (e *external) expectNone(batch []staged) {
	e.commits.mu.Lock()
	defer e.commits.mu.Unlock()
	for i := range batch {
		if st := &batch[i]; st.write {
			st.served.events.expected = 0
		}
	}
}

// checkAll checks all values, after events may have been missed.
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

// check reads a value from Redis and handles it by policy if the dispatcher has not written
// it.
func (e *external) check(ctx context.Context, s *served, policy ExternalWrites) {
	for ctx.Err() == nil && !e.tryCheck(ctx, s, policy) {
	}
}

// tryCheck is one try of check. It returns false if the dispatcher has committed a value
// meanwhile, so that what was read may be older.
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
	if err != nil { // HSET fails on a key of another type
		_ = e.definitions.drop(ctx, []string{s.def.Name})
	}
	again := staged{served: s, write: true, rec: committed}
	again.canonical, _ = s.def.Parse(committed.text)
	if ok && policy == ExternalAccept && !s.def.ReadOnly {
		if v, err := s.def.Parse(there.text); err == nil && s.def.Check(v) == nil {
			again = e.value(s, v, committed, again.canonical, "redis")
		}
	}
	if again.rec.at == 0 { // there is no value to go back to
		_ = e.definitions.drop(ctx, []string{s.def.Name})
		return true
	}
	e.stats.external.Add(1)
	if err := e.commits.stage(again); err != nil {
		e.log.Warn("keywords: external write not handled", "keyword", s.def.Name, "error", err)
	}
	return true
}
