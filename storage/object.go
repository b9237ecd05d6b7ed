package storage

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/internal/redisio"
)

// WrongTypeError is the error of an object whose key holds another Redis type, written
// by another program. Nothing was changed.
type WrongTypeError struct {
	Key  string
	Want string // what the object keeps there: set, hash, string or list
}

func (e *WrongTypeError) Error() string {
	return fmt.Sprintf("storage: key %q holds another type than a %s", e.Key, e.Want)
}

// object is the common part of all objects: a key that holds one Redis type, and the
// client to reach it.
type object struct {
	pool *Pool
	key  string
	want string // the type
}

func newObject(pool *Pool, want string, name ...string) (object, error) {
	if pool == nil {
		return object{}, errors.New("storage: nil pool")
	}
	if pool.isClosed() {
		return object{}, ErrClosed
	}
	return objectAt(pool, want, name...)
}

func objectAt(pool *Pool, want string, name ...string) (object, error) {
	key, err := pool.Key(name...)
	return object{pool: pool, key: key, want: want}, err
}

// Key returns the key of the object in Redis.
func (o object) Key() string { return o.key }

var objectClear = redisio.NewScript(`
local t = redis.call('TYPE', KEYS[1]).ok
if t ~= 'none' and t ~= ARGV[1] then return redis.error_reply('WRONGTYPE') end
return redis.call('DEL', KEYS[1])`)

// Clear deletes the object with its contents, and reports whether it existed.
func (o object) Clear(ctx context.Context) (bool, error) {
	return flag(o.run(ctx, objectClear, []string{o.key}, o.want))
}

// patience is how long a write is tried again that Redis did not carry out. It is
// longer than the restart of a small server, and than the second for which go-redis
// does not dial after as many failures as its pool has connections.
const patience = 3 * time.Second

// write runs a command at most once: a second SADD or compare-and-swap would return
// another result than the first.
func (o object) write(ctx context.Context, args ...any) (any, error) {
	client := o.pool.objects()
	for begin, try := time.Now(), 0; ; try++ {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		cmd := redisio.Once(ctx, args...)
		err := client.Process(ctx, cmd)
		switch redisio.FateOf(err) {
		case redisio.Unknown:
			return nil, fmt.Errorf("%w: %w", ErrIndeterminate, redisio.Normalize(ctx, err))
		case redisio.Unsent:
			if time.Since(begin) < patience && redisio.Sleep(ctx, redisio.Backoff(try)) {
				continue
			}
		}
		return cmd.Val(), o.explain(ctx, err)
	}
}

// run runs a script at most once.
func (o object) run(ctx context.Context, s redisio.Script, keys []string, args ...any) (any, error) {
	command := s.Command(keys, args)
	v, err := o.write(ctx, command...)
	if redisio.IsUnknownScript(err) {
		v, err = o.write(ctx, s.Spell(command)...)
	}
	return v, err
}

// flag and count read the number that a write returns.
func flag(answer any, err error) (bool, error) { return answer == int64(1), err }

func count(answer any, err error) (int, error) {
	n, _ := answer.(int64)
	return int(n), err
}

// explain turns the error of a command into that of an object.
func (o object) explain(ctx context.Context, err error) error {
	var reply redis.Error
	switch {
	case err == nil || errors.Is(err, redis.Nil):
		return err
	case errors.Is(err, redis.ErrClosed):
		return ErrClosed
	case errors.As(err, &reply) && strings.Contains(reply.Error(), "WRONGTYPE"): // a script puts words before it
		return &WrongTypeError{Key: o.key, Want: o.want}
	}
	return redisio.Normalize(ctx, err)
}

// checkTTL accepts 0, which is none, and what Redis can count in milliseconds.
func checkTTL(field string, ttl time.Duration) error {
	switch {
	case ttl < 0:
		return fmt.Errorf("storage: %s: %v is negative", field, ttl)
	case ttl > 0 && ttl < time.Millisecond:
		return fmt.Errorf("storage: %s: %v is less than a millisecond", field, ttl)
	}
	return nil
}

// only returns the options, of which at most one may be given.
func only[O any](opts []O) (o O, err error) {
	if len(opts) > 1 {
		return o, fmt.Errorf("storage: %d %T, at most one", len(opts), o)
	}
	for _, o = range opts {
	}
	return o, nil
}
