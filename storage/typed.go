package storage

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// ObjectOptions are the options of [Set], [Map], [Value] and [NewObject].
type ObjectOptions struct {
	// Codec encodes the elements in Redis. Defaults to MsgPack. Programs in other
	// languages can read Text and JSON.
	Codec Codec
	// TTL is the time after the last change that added or set something, at which the
	// whole object is deleted. Defaults to never.
	TTL time.Duration
}

// typed is an object whose elements have a Go type.
type typed[T any] struct {
	object
	codec Codec
	ttl   time.Duration
}

func newTyped[T any](pool *Pool, want, name string, opts []ObjectOptions) (t typed[T], err error) {
	o, err := only(opts)
	if err != nil {
		return t, err
	}
	if !o.Codec.Valid() {
		return t, fmt.Errorf("storage: ObjectOptions.Codec: no %v", o.Codec)
	}
	if err := checkTTL("ObjectOptions.TTL", o.TTL); err != nil {
		return t, err
	}
	obj, err := newObject(pool, want, name)
	return typed[T]{obj, o.Codec, o.TTL}, err
}

// encode appends the elements to args.
func (t typed[T]) encode(args []any, elems ...T) ([]any, error) {
	for _, e := range elems {
		data, err := t.codec.Marshal(e)
		if err != nil {
			return nil, fmt.Errorf("%s %q: %w", t.want, t.key, err)
		}
		args = append(args, data)
	}
	return args, nil
}

func (t typed[T]) decode(data string) (T, error) {
	var v T
	if err := t.codec.Unmarshal([]byte(data), &v); err != nil {
		var zero T
		return zero, fmt.Errorf("%s %q: %w", t.want, t.key, err)
	}
	return v, nil
}

// scanPage is the approximate number of elements that one command of All reads.
const scanPage = 256

// scan yields the pages of an SSCAN or HSCAN until yield returns false, and returns the
// error that ended it.
func (o object) scan(ctx context.Context, page func(ctx context.Context, key string, cursor uint64, match string, count int64) *redis.ScanCmd, yield func([]string) bool) error {
	for cursor := uint64(0); ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		elems, next, err := page(ctx, o.key, cursor, "", scanPage).Result()
		if err != nil {
			return o.explain(ctx, err)
		}
		if !yield(elems) || next == 0 {
			return nil
		}
		cursor = next
	}
}
