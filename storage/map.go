package storage

import (
	"context"
	"errors"
	"iter"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/internal/redisio"
)

// Map holds values of one Go type by field, in a hash of Redis. A field is any string.
type Map[T any] struct{ typed[T] }

// Entry is a field of a [Map] and its value.
type Entry[T any] struct {
	Field string
	Value T
}

// NewMap returns the map with a name. It does not access Redis.
func NewMap[T any](pool *Pool, name string, opts ...ObjectOptions) (*Map[T], error) {
	t, err := newTyped[T](pool, "hash", name, opts)
	if err != nil {
		return nil, err
	}
	return &Map[T]{t}, nil
}

// Get returns the value of a field; ok is false if there is none.
func (m *Map[T]) Get(ctx context.Context, field string) (v T, ok bool, err error) {
	data, err := m.pool.objects().HGet(ctx, m.key, field).Result()
	if errors.Is(err, redis.Nil) {
		return v, false, nil
	}
	if err != nil {
		return v, false, m.explain(ctx, err)
	}
	v, err = m.decode(data)
	return v, err == nil, err
}

// These answer 1 if the field was set: always, if it was absent, or if it had the old
// value.
var (
	mapPut = redisio.NewScript(`
redis.call('HSET', KEYS[1], ARGV[2], ARGV[3])
if ARGV[1] ~= '0' then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end
return 1`)
	mapPutIfAbsent = redisio.NewScript(`
if redis.call('HSETNX', KEYS[1], ARGV[2], ARGV[3]) == 0 then return 0 end
if ARGV[1] ~= '0' then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end
return 1`)
	mapCompareAndSwap = redisio.NewScript(`
if redis.call('HGET', KEYS[1], ARGV[2]) ~= ARGV[3] then return 0 end
redis.call('HSET', KEYS[1], ARGV[2], ARGV[4])
if ARGV[1] ~= '0' then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end
return 1`)
)

func (m *Map[T]) set(ctx context.Context, s redisio.Script, field string, values ...T) (bool, error) {
	args, err := m.encode([]any{m.ttl.Milliseconds(), field}, values...)
	if err != nil {
		return false, err
	}
	return flag(m.run(ctx, s, []string{m.key}, args...))
}

// Put sets a field.
func (m *Map[T]) Put(ctx context.Context, field string, v T) error {
	_, err := m.set(ctx, mapPut, field, v)
	return err
}

// PutIfAbsent sets a field unless it exists, and reports whether it did.
func (m *Map[T]) PutIfAbsent(ctx context.Context, field string, v T) (bool, error) {
	return m.set(ctx, mapPutIfAbsent, field, v)
}

// CompareAndSwap sets a field if its value is old, and reports whether it did. Values
// are compared in their encoded form. JSON that another program wrote with other
// spaces or key order differs, and so does a Go map whose keys are numbers.
func (m *Map[T]) CompareAndSwap(ctx context.Context, field string, old, v T) (bool, error) {
	return m.set(ctx, mapCompareAndSwap, field, old, v)
}

// Delete removes fields and returns the number of those that existed.
func (m *Map[T]) Delete(ctx context.Context, fields ...string) (deleted int, err error) {
	if len(fields) == 0 {
		return 0, nil
	}
	args := []any{"hdel", m.key}
	for _, f := range fields {
		args = append(args, f)
	}
	return count(m.write(ctx, args...))
}

// Len returns the number of fields.
func (m *Map[T]) Len(ctx context.Context) (int, error) {
	n, err := m.pool.objects().HLen(ctx, m.key).Result()
	return int(n), m.explain(ctx, err)
}

// All yields the fields and their values in no order, and reads some hundreds at a
// time. It yields each field that exists from begin to end, and perhaps fields that
// are added or removed meanwhile. If the map grows or shrinks meanwhile, a field may
// be yielded more than once.
func (m *Map[T]) All(ctx context.Context) iter.Seq2[Entry[T], error] {
	return func(yield func(Entry[T], error) bool) {
		err := m.scan(ctx, m.pool.objects().HScan, func(pairs []string) bool {
			for i := 0; i+1 < len(pairs); i += 2 {
				v, err := m.decode(pairs[i+1])
				if !yield(Entry[T]{pairs[i], v}, err) || err != nil {
					return false
				}
			}
			return true
		})
		if err != nil {
			yield(Entry[T]{}, err)
		}
	}
}
