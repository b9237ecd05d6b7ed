package storage

import (
	"context"
	"iter"

	"github.com/heliograph/heliograph/internal/redisio"
)

// Set is a set of values of one Go type, in a set of Redis. Two values are equal if
// their encoded forms are.
type Set[T any] struct{ typed[T] }

// NewSet returns the set with a name. It does not access Redis.
func NewSet[T any](pool *Pool, name string, opts ...ObjectOptions) (*Set[T], error) {
	t, err := newTyped[T](pool, "set", name, opts)
	if err != nil {
		return nil, err
	}
	return &Set[T]{t}, nil
}

// setAdd is for sets with a TTL; for others SADD is enough.
var setAdd = redisio.NewScript(luaEach + `
local n = each('SADD', 2)
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return n`)

// Add adds members and returns the number of those that were new.
func (s *Set[T]) Add(ctx context.Context, members ...T) (added int, err error) {
	if len(members) == 0 {
		return 0, nil
	}
	args := make([]any, 0, 2+len(members))
	if s.ttl == 0 {
		if args, err = s.encode(append(args, "sadd", s.key), members...); err != nil {
			return 0, err
		}
		return count(s.write(ctx, args...))
	}
	if args, err = s.encode(append(args, s.ttl.Milliseconds()), members...); err != nil {
		return 0, err
	}
	return count(s.run(ctx, setAdd, []string{s.key}, args...))
}

// Remove removes members and returns the number of those that existed.
func (s *Set[T]) Remove(ctx context.Context, members ...T) (removed int, err error) {
	if len(members) == 0 {
		return 0, nil
	}
	args, err := s.encode([]any{"srem", s.key}, members...)
	if err != nil {
		return 0, err
	}
	return count(s.write(ctx, args...))
}

// Contains reports whether member is in the set.
func (s *Set[T]) Contains(ctx context.Context, member T) (bool, error) {
	args, err := s.encode(nil, member)
	if err != nil {
		return false, err
	}
	in, err := s.pool.objects().SIsMember(ctx, s.key, args[0]).Result()
	return in, s.explain(ctx, err)
}

// Len returns the number of members.
func (s *Set[T]) Len(ctx context.Context) (int, error) {
	n, err := s.pool.objects().SCard(ctx, s.key).Result()
	return int(n), s.explain(ctx, err)
}

// Get returns all members at one moment, in no order. Redis is blocked meanwhile: use
// All for a set of many thousands.
func (s *Set[T]) Get(ctx context.Context) ([]T, error) {
	elems, err := s.pool.objects().SMembers(ctx, s.key).Result()
	if err != nil {
		return nil, s.explain(ctx, err)
	}
	members := make([]T, len(elems))
	for i, e := range elems {
		if members[i], err = s.decode(e); err != nil {
			return nil, err
		}
	}
	return members, nil
}

// All yields the members in no order, and reads some hundreds at a time. It yields
// each member that exists from begin to end, and perhaps members that are added or
// removed meanwhile. If the set grows or shrinks meanwhile, a member may be yielded
// more than once.
func (s *Set[T]) All(ctx context.Context) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		err := s.scan(ctx, s.pool.objects().SScan, func(elems []string) bool {
			for _, e := range elems {
				v, err := s.decode(e)
				if !yield(v, err) || err != nil {
					return false
				}
			}
			return true
		})
		if err != nil {
			var zero T
			yield(zero, err)
		}
	}
}
