package keywords

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/pubsub"
)

// ExternalWrites says what a dispatcher does about values that others write into
// Redis, or deletes: redis-cli, or a program that knows no dispatchers.
type ExternalWrites uint8

const (
	// ExternalIgnore does nothing: what was written is read, and not announced, until
	// the keyword is set again. Redis need not tell of it.
	ExternalIgnore ExternalWrites = iota
	// ExternalAccept sets the keyword to what was written, without hooks, if that is a
	// value of it, and reverts it otherwise.
	ExternalAccept
	// ExternalRevert writes the value of the keyword again.
	ExternalRevert
)

// notifyFlags are the classes of keyspace events that tell of all that can happen
// to a value: hashes, generic commands, expiry, eviction, and a SET over it.
const notifyFlags = "Khgxe$"

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
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.notificationsErr
}

// listen has Redis tell what others write, until the function that it returns is
// called.
func (d *Dispatcher) listen(ctx context.Context) (end func()) {
	if d.cfg.ExternalWrites == ExternalIgnore {
		return func() {}
	}
	note := func(err error) {
		d.log.Warn("keywords: what others write goes unseen", "error", err)
		d.mu.Lock()
		d.notificationsErr = err
		d.mu.Unlock()
	}
	ps, err := pubsub.NewClient(d.pool, pubsub.Config{})
	if err != nil {
		note(err)
		return func() {}
	}
	closing := func() { _ = ps.Close() }
	canary := make(chan struct{}, 1)
	own := d.service.bare + ":v:" // a KeyEvents has the pool's prefix put before it
	_, err = pubsub.Listen(ctx, ps, pubsub.NewKeyEvents(own+"*"), func(ctx context.Context, m pubsub.Message[string]) error {
		name, ours := strings.CutPrefix(m.Channel, own)
		switch {
		case errors.Is(m.Err, pubsub.ErrGap):
			_ = d.enableNotifications(ctx) // a server that was restarted has forgotten it
			d.checkAllExternal(ctx)        // nor has it told of what was written meanwhile
		case m.Err != nil || !ours:
		case strings.HasPrefix(name, "-"):
			signal(canary)
		default:
			d.onKeyEvent(ctx, name)
		}
		return nil
	})
	if err != nil { // an ACL that does not let us, as a rule
		note(fmt.Errorf("%w: %w: the user needs &__keyspace@%d__:%s*, spelt out", ErrNotificationsUnavailable, err, redisio.Of(d.pool).Database(), d.service.value("")))
		return closing
	}
	if err = d.probeNotifications(ctx, canary); err == nil || ctx.Err() != nil {
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
			if d.probeNotifications(ctx, canary) == nil {
				d.mu.Lock()
				d.notificationsErr = nil
				d.mu.Unlock()
				d.checkAllExternal(ctx)
				return
			}
		}
	})
	return func() { stop(); closing() }
}

// hears tries whether Redis tells what others write: where CONFIG is refused it
// can't be asked.
func (d *Dispatcher) probeNotifications(ctx context.Context, canary <-chan struct{}) error {
	refused := d.enableNotifications(ctx)
	key := d.service.value("-" + rand.Text()[:8])
	if err := d.client.Set(ctx, key, "", probeTimeout).Err(); err != nil {
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

// enable adds the flags that are missing on each server, and takes none away. Its
// error has the command that was refused.
func (d *Dispatcher) enableNotifications(ctx context.Context) error {
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
	switch c := d.client.(type) {
	case *redis.ClusterClient:
		return c.ForEachMaster(ctx, one)
	case *redis.Client:
		return one(ctx, c)
	}
	return nil
}

// noticed takes word that a value was written. What this dispatcher has written
// itself is told too: that many are let pass.
func (d *Dispatcher) onKeyEvent(ctx context.Context, name string) {
	s := d.served[name]
	if s == nil {
		return
	}
	d.mu.Lock()
	own := s.expected > 0
	if own {
		s.expected--
	}
	d.mu.Unlock()
	if !own {
		d.checkExternal(ctx, s, d.cfg.ExternalWrites)
	}
}

// compareAll looks at all values, and has all events looked at that come next,
// whoever caused them.
func (d *Dispatcher) checkAllExternal(ctx context.Context) {
	d.mu.Lock()
	for _, s := range d.served {
		s.expected = 0
	}
	d.mu.Unlock()
	for _, s := range d.served {
		d.checkExternal(ctx, s, d.cfg.ExternalWrites)
	}
}

// compare reads a value, and deals with one that this dispatcher has not written,
// by a policy.
func (d *Dispatcher) checkExternal(ctx context.Context, s *served, policy ExternalWrites) {
	for ctx.Err() == nil && !d.tryCheckExternal(ctx, s, policy) {
	}
}

// compared is one try of compare. It reports false if the dispatcher has written the
// value meanwhile: what was read may be older.
func (d *Dispatcher) tryCheckExternal(ctx context.Context, s *served, policy ExternalWrites) bool {
	d.mu.Lock()
	before := s.committed
	d.mu.Unlock()
	fields, err := d.pool.Redis().HMGet(ctx, d.service.value(s.def.Name), valueFields...).Result()
	var reply redis.Error
	if err != nil && !errors.As(err, &reply) { // another type of key is somebody else's too
		return true
	}
	there, ok := readRecord(s.def.Name, fields)
	d.mu.Lock()
	now, committed := s.now, s.committed
	s.suspect = now != committed
	d.mu.Unlock()
	switch {
	case before != committed:
		return false
	case now != committed: // a commit is under way, and looks again
		return true
	case ok && there.text == committed.text && there.rev == committed.rev:
		return true
	case !ok && committed.at == 0:
		return true
	}
	if err != nil { // or HSET would be refused
		_ = d.deleteValues(ctx, s.def.Name)
	}
	again := staged{served: s, write: true, rec: committed}
	again.canonical, _ = s.def.Parse(committed.text)
	if ok && policy == ExternalAccept {
		if v, err := s.def.Parse(there.text); err == nil && s.def.Check(v) == nil {
			again = d.newValue(s, v, committed, "redis")
		}
	}
	if again.rec.at == 0 { // nothing to go back to
		_ = d.deleteValues(ctx, s.def.Name)
		return true
	}
	d.stats.external.Add(1)
	if err := d.stage([]staged{again}); err != nil {
		d.log.Warn("keywords: external write not handled", "keyword", s.def.Name, "error", err)
	}
	return true
}
