package storage

import (
	"cmp"
	"context"
	crand "crypto/rand"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/internal/redisio"
)

// PresenceOptions are the options of a [Presence].
type PresenceOptions struct {
	// Codec encodes the members in Redis. Defaults to MsgPack.
	Codec Codec
	// Owner is the name under which this process holds its members. It must be unique
	// at any time. Defaults to a random name.
	Owner string
	// Lease is the time after which the members of a dead owner are removed. The owner
	// renews it after a third of this time. At least 100 ms. Defaults to 15 seconds.
	Lease time.Duration
	// MaxMembers is the number of members that this owner may hold. Defaults to 65,536.
	MaxMembers int
}

func (o PresenceOptions) complete() (PresenceOptions, error) {
	o.Owner = cmp.Or(o.Owner, crand.Text())
	o.Lease = cmp.Or(o.Lease, 15*time.Second)
	o.MaxMembers = cmp.Or(o.MaxMembers, 65_536)
	switch err := redisio.CheckName(o.Owner); {
	case err != nil:
		return o, fmt.Errorf("storage: PresenceOptions.Owner: %w", err)
	case !o.Codec.Valid():
		return o, fmt.Errorf("storage: PresenceOptions.Codec: no %v", o.Codec)
	case o.Lease < 100*time.Millisecond:
		return o, fmt.Errorf("storage: PresenceOptions.Lease: %v is less than 100ms", o.Lease)
	case o.MaxMembers < 0:
		return o, fmt.Errorf("storage: PresenceOptions.MaxMembers: %d is negative", o.MaxMembers)
	}
	return o, nil
}

// Presence is a set of members that are present, such as the users connected to any
// process. Each member is held by one owner or more, and is removed with its last owner.
// (It is like etcd's keys with a lease and ZooKeeper's ephemeral nodes.)
//
// An owner is one Presence in one process. Its members have one common lease, which it
// renews from its first Add to its Close. The members of an owner that dies or loses
// Redis are removed when the lease ends. An owner that reaches Redis again adds its
// members again within a third of a lease, also if Redis has lost all data.
type Presence[T any] struct {
	pool   *Pool
	opts   PresenceOptions
	owners object   // sorted set: owner by the end of its lease, in ms of Redis
	own    typed[T] // set: what this owner holds; the lease is its time to live
	disown func()
	turn   chan struct{} // holds a token; the goroutine that has it may access Redis and the fields below

	failing bool // the last renewal failed
	closed  bool
	stop    context.CancelFunc // ends renewAlways; nil before the first Add
	running sync.WaitGroup

	mu      sync.Mutex          // never held while waiting for Redis
	held    map[string]struct{} // encoded members
	dirty   bool                // Redis may differ from held
	waiting []*presenceChange   // for the turn; each has a caller that waits
}

// Present is a member and one owner that holds it.
type Present[T any] struct {
	Owner  string
	Member T
}

// NewPresence returns an owner in the presence with a name. It does not access Redis.
func NewPresence[T any](pool *Pool, name string, opts ...PresenceOptions) (*Presence[T], error) {
	o, err := only(opts)
	if err == nil {
		o, err = o.complete()
	}
	if err != nil {
		return nil, err
	}
	if _, err := newObject(pool, "", name); err != nil {
		return nil, err
	}
	p := &Presence[T]{pool: pool, opts: o, turn: make(chan struct{}, 1), held: make(map[string]struct{}), dirty: true}
	if p.owners, err = newObject(pool, "sorted set", redisio.HashTag(name), "owners"); err != nil {
		return nil, err
	}
	p.own = p.of(o.Owner)
	if p.disown, err = (plumbing{pool}).Own(p.Close); err != nil {
		return nil, err
	}
	p.turn <- struct{}{}
	return p, nil
}

// of is the set of an owner, in the slot of the owners.
func (p *Presence[T]) of(owner string) typed[T] {
	key := strings.TrimSuffix(p.owners.key, "owners") + "of:" + owner
	return typed[T]{object: object{p.pool, key, "set"}, codec: p.opts.Codec}
}

// Owner returns PresenceOptions.Owner as completed.
func (p *Presence[T]) Owner() string { return p.opts.Owner }

// Add adds members to those that this owner holds, and returns the number of those that
// it did not hold before. After an error it does not hold these: the next renewal
// removes them from Redis if necessary.
func (p *Presence[T]) Add(ctx context.Context, members ...T) (added int, err error) {
	return p.change(ctx, true, members)
}

// Remove removes members from those that this owner holds, and returns the number of
// those that it held. After an error it does not hold them either: the next renewal
// removes them from Redis.
func (p *Presence[T]) Remove(ctx context.Context, members ...T) (removed int, err error) {
	return p.change(ctx, false, members)
}

// encode returns the distinct encoded members.
func (p *Presence[T]) encode(members []T) ([]string, error) {
	args, err := p.own.encode(nil, members...)
	if err != nil {
		return nil, err
	}
	elems := make([]string, len(args))
	for i, a := range args {
		elems[i] = string(a.([]byte))
	}
	slices.Sort(elems)
	return slices.Compact(elems), nil
}

// Contains reports whether any owner holds a member.
func (p *Presence[T]) Contains(ctx context.Context, member T) (bool, error) {
	args, err := p.own.encode(nil, member)
	if err != nil {
		return false, err
	}
	owners, err := p.known(ctx)
	if err != nil || len(owners) == 0 {
		return false, err
	}
	pipe := p.pool.objects().Pipeline()
	answers := make([]*redis.BoolCmd, len(owners))
	for i, owner := range owners {
		answers[i] = pipe.SIsMember(ctx, p.of(owner).key, args[0])
	}
	_, _ = pipe.Exec(ctx) // every command has its own error
	for i, a := range answers {
		if a.Err() != nil {
			return false, p.of(owners[i]).explain(ctx, a.Err())
		}
	}
	return slices.ContainsFunc(answers, (*redis.BoolCmd).Val), nil
}

// Owners returns the owners that hold members, in the order of their names.
func (p *Presence[T]) Owners(ctx context.Context) ([]string, error) {
	owners, err := p.known(ctx)
	if err != nil || len(owners) == 0 {
		return nil, err
	}
	pipe := p.pool.objects().Pipeline()
	there := make(map[string]*redis.IntCmd, len(owners))
	for _, owner := range owners {
		there[owner] = pipe.Exists(ctx, p.of(owner).key)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, p.own.explain(ctx, err)
	}
	owners = slices.DeleteFunc(owners, func(o string) bool { return there[o].Val() == 0 })
	slices.Sort(owners)
	return owners, nil
}

// known returns the owners, also dead ones, whose sets have expired.
func (p *Presence[T]) known(ctx context.Context) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	owners, err := p.pool.objects().ZRange(ctx, p.owners.key, 0, -1).Result()
	return owners, p.owners.explain(ctx, err)
}

// All yields each member once for every owner that holds it. As with [Set.All], members
// that are added or removed meanwhile may be yielded or not.
func (p *Presence[T]) All(ctx context.Context) iter.Seq2[Present[T], error] {
	return func(yield func(Present[T], error) bool) {
		owners, err := p.known(ctx)
		if err != nil {
			yield(Present[T]{}, err)
			return
		}
		for _, owner := range owners {
			for m, err := range (&Set[T]{p.of(owner)}).All(ctx) {
				if !yield(Present[T]{owner, m}, err) || err != nil {
					return
				}
			}
		}
	}
}

// Close ends the lease: the members of this owner are removed at once, or, with an error,
// when the lease ends. The Close of the pool calls it.
func (p *Presence[T]) Close() error {
	<-p.turn
	if p.closed {
		p.end()
		return nil
	}
	p.closed = true
	var err error
	if p.stop != nil {
		p.stop()
		p.mu.Lock()
		clear(p.held)
		p.dirty = true
		p.mu.Unlock()
		ctx, cancel := context.WithTimeout(context.Background(), p.opts.Lease)
		err = p.write(ctx, nil)
		cancel()
	}
	p.end()
	p.running.Wait()
	p.disown()
	return err
}
