package storage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/heliograph/heliograph/internal/redisio"
)

// Object holds sets of strings by key. A host can implement it to keep the state of
// heliograph elsewhere. Keys follow the rules of [Pool.Key]; a key without members is
// an empty set. Adding a member that exists and removing one that does not are no
// errors: the counts leave them out. An Object may be used by many goroutines at once.
//
// storagetest.Object tests an implementation.
type Object interface {
	// Get returns the members in no order.
	Get(ctx context.Context, key string) ([]string, error)
	// Add adds members and returns the number of those that were new.
	Add(ctx context.Context, key string, members ...string) (added int, err error)
	// Remove removes members and returns the number of those that existed.
	Remove(ctx context.Context, key string, members ...string) (removed int, err error)
}

// NewObject returns an [Object] of sets in Redis, whose keys are the pool's prefix, the
// name and the key. The TTL applies to each set.
func NewObject(pool *Pool, name string, opts ...ObjectOptions) (Object, error) {
	t, err := newTyped[string](pool, "set", name, opts)
	if err != nil {
		return nil, err
	}
	return redisObject{t, name}, nil
}

type redisObject struct {
	all  typed[string]
	name string
}

func (o redisObject) set(key string) (*Set[string], error) {
	t := o.all
	var err error
	if t.key, err = t.pool.Key(o.name, key); err != nil {
		return nil, err
	}
	return &Set[string]{t}, nil
}

func (o redisObject) Get(ctx context.Context, key string) ([]string, error) {
	s, err := o.set(key)
	if err != nil {
		return nil, err
	}
	return s.Get(ctx)
}

func (o redisObject) Add(ctx context.Context, key string, members ...string) (int, error) {
	s, err := o.set(key)
	if err != nil {
		return 0, err
	}
	return s.Add(ctx, members...)
}

func (o redisObject) Remove(ctx context.Context, key string, members ...string) (int, error) {
	s, err := o.set(key)
	if err != nil {
		return 0, err
	}
	return s.Remove(ctx, members...)
}

// ErrFull refuses an Add above MemoryOptions.MaxMembers or
// PresenceOptions.MaxMembers. Nothing was added.
var ErrFull = errors.New("storage: too many members")

// MemoryOptions bound the [Object] of [NewMemoryObject].
type MemoryOptions struct {
	// MaxMembers is the number of members that all sets together may have. Defaults to
	// 1,048,576.
	MaxMembers int
}

// NewMemoryObject returns an [Object] in the memory of the process, for a service of
// one process and for tests.
func NewMemoryObject(opts ...MemoryOptions) (Object, error) {
	o, err := only(opts)
	if err != nil {
		return nil, err
	}
	if o.MaxMembers < 0 {
		return nil, fmt.Errorf("storage: MemoryOptions.MaxMembers: %d is negative", o.MaxMembers)
	}
	return &memoryObject{most: cmp.Or(o.MaxMembers, 1<<20), sets: make(map[string]map[string]struct{})}, nil
}

type memoryObject struct {
	most int

	mu   sync.Mutex
	sets map[string]map[string]struct{} // none is empty
	size int                            // members of all
}

// lock locks the object, or returns why it can't be used.
func (o *memoryObject) lock(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := redisio.CheckName(key); err != nil {
		return fmt.Errorf("storage: key: %w", err)
	}
	o.mu.Lock()
	return nil
}

func (o *memoryObject) Get(ctx context.Context, key string) ([]string, error) {
	if err := o.lock(ctx, key); err != nil {
		return nil, err
	}
	defer o.mu.Unlock()
	members := make([]string, 0, len(o.sets[key]))
	for m := range o.sets[key] {
		members = append(members, m)
	}
	return members, nil
}

func (o *memoryObject) Add(ctx context.Context, key string, members ...string) (int, error) {
	if err := o.lock(ctx, key); err != nil {
		return 0, err
	}
	defer o.mu.Unlock()
	fresh := make(map[string]struct{}, len(members))
	for _, m := range members {
		if _, there := o.sets[key][m]; !there {
			fresh[m] = struct{}{}
		}
	}
	if o.size+len(fresh) > o.most {
		return 0, fmt.Errorf("%w: MemoryOptions.MaxMembers is %d", ErrFull, o.most)
	}
	if o.sets[key] == nil && len(fresh) > 0 {
		o.sets[key] = make(map[string]struct{}, len(fresh))
	}
	for m := range fresh {
		o.sets[key][m] = struct{}{}
	}
	o.size += len(fresh)
	return len(fresh), nil
}

func (o *memoryObject) Remove(ctx context.Context, key string, members ...string) (removed int, err error) {
	if err := o.lock(ctx, key); err != nil {
		return 0, err
	}
	defer o.mu.Unlock()
	set := o.sets[key]
	for _, m := range members {
		if _, there := set[m]; there {
			delete(set, m)
			removed++
		}
	}
	if len(set) == 0 {
		delete(o.sets, key)
	}
	o.size -= removed
	return removed, nil
}
