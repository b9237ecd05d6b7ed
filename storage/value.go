package storage

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/internal/redisio"
)

// Value holds one value of a Go type, in a string of Redis.
type Value[T any] struct{ typed[T] }

// NewValue returns the value with a name. It does not access Redis.
func NewValue[T any](pool *Pool, name string, opts ...ObjectOptions) (*Value[T], error) {
	t, err := newTyped[T](pool, "string", name, opts)
	if err != nil {
		return nil, err
	}
	return &Value[T]{t}, nil
}

// Get returns the value; ok is false if there is none.
func (v *Value[T]) Get(ctx context.Context) (x T, ok bool, err error) {
	x, _, ok, err = v.read(ctx)
	return x, ok, err
}

// read also returns the encoded form.
func (v *Value[T]) read(ctx context.Context) (x T, data string, ok bool, err error) {
	data, err = v.pool.objects().Get(ctx, v.key).Result()
	if errors.Is(err, redis.Nil) {
		return x, "", false, nil
	}
	if err != nil {
		return x, "", false, v.explain(ctx, err)
	}
	x, err = v.decode(data)
	return x, data, err == nil, err
}

// SET would replace a key of any type; STRLEN fails for a key of another type.
var (
	valueSet = redisio.NewScript(`
redis.call('STRLEN', KEYS[1])
if ARGV[1] == '0' then redis.call('SET', KEYS[1], ARGV[2])
else redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[1]) end
return 1`)
	valueSwap = redisio.NewScript(`
local now = redis.call('GET', KEYS[1])
if ARGV[3] == '0' then
  if now then return 0 end
elseif now ~= ARGV[4] then return 0 end
if ARGV[1] == '0' then redis.call('SET', KEYS[1], ARGV[2])
else redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[1]) end
return 1`)
)

// Set sets the value.
func (v *Value[T]) Set(ctx context.Context, x T) error {
	args, err := v.encode([]any{v.ttl.Milliseconds()}, x)
	if err != nil {
		return err
	}
	_, err = v.run(ctx, valueSet, []string{v.key}, args...)
	return err
}

// ErrConflict is the error of an Update that tried 100 times and found each time that
// another caller had changed the value meanwhile. Nothing was written.
var ErrConflict = errors.New("storage: 100 tries were each overtaken by another change")

const maxUpdates = 100

// Update sets the value to the result of change, and returns it. If another caller
// sets the value meanwhile, change is called again with the new value, so it must not
// have side effects. An error of change is returned unchanged, and nothing is written.
// If there is no value, change gets the zero value and false.
func (v *Value[T]) Update(ctx context.Context, change func(old T, ok bool) (T, error)) (T, error) {
	var zero T
	for try := range maxUpdates {
		if try > 0 { // all that were overtaken try again, at different moments
			if !redisio.Sleep(ctx, rand.N(min(time.Millisecond<<min(try, 10), 50*time.Millisecond))) {
				return zero, ctx.Err()
			}
		}
		old, was, ok, err := v.read(ctx)
		if err != nil {
			return zero, err
		}
		x, err := change(old, ok)
		if err != nil {
			return zero, err
		}
		args, err := v.encode([]any{v.ttl.Milliseconds()}, x)
		if err != nil {
			return zero, err
		}
		args = append(args, 0)
		if ok {
			args[2] = 1
			args = append(args, was)
		}
		swapped, err := flag(v.run(ctx, valueSwap, []string{v.key}, args...))
		if err != nil {
			return zero, err
		}
		if swapped {
			return x, nil
		}
	}
	return zero, fmt.Errorf("string %q: %w", v.key, ErrConflict)
}
