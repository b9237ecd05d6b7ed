package bus

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/internal/redisio"
)

// inbox is the stream of a client's replies. The client makes it; workers write to it
// only if it exists.
type inbox struct {
	c   *Client
	key string
}

// Bounds of elements that were read and are still in the inbox, and of one read in
// entries.
const (
	trimElems = 1000
	trimBytes = 1 << 20
	readCount = 128
	readBytes = 4 << 20 // that a read aims for at most, going by the one before
)

// create makes the stream if it does not exist, and renews its time to live. It adds
// an element that says nothing: a Redis that takes no writes has no new leases
// either, and must not be asked who lives.
func (in *inbox) create(ctx context.Context, client redis.UniversalClient) (made bool, err error) {
	var added *redis.StringCmd
	_, err = client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		pipe.PExpire(ctx, in.key, inboxTTL)
		added = pipe.XAdd(ctx, &redis.XAddArgs{Stream: in.key, NoMkStream: true, Values: []string{redisio.StreamField, ""}})
		return nil
	})
	if errors.Is(err, redis.Nil) {
		err = nil
	}
	if err == nil && errors.Is(added.Err(), redis.Nil) {
		made = true
		_, err = client.TxPipelined(ctx, func(tx redis.Pipeliner) error {
			tx.XAdd(ctx, &redis.XAddArgs{Stream: in.key, Values: []string{redisio.StreamField, ""}})
			tx.PExpire(ctx, in.key, inboxTTL)
			return nil
		})
	}
	return made, redisio.Normalize(ctx, err)
}

// read delivers replies until the client is closed.
func (in *inbox) read() { _ = redisio.Of(in.c.pool).Blocking(in.c.ctx, in.follow) }

func (in *inbox) follow(ctx context.Context, client redis.UniversalClient) error {
	last, newest := "0", "0" // from the beginning
	again := false           // what is read was, in part, read before
	lying, bytes := 0, 0     // elements that were read and are still in the stream
	count := readCount / 8
	for try := 0; ctx.Err() == nil; {
		elems, next, err := redisio.ReadAppended(ctx, client, in.key, last, count)
		if err != nil {
			in.recover(ctx, client, err, &try)
			again, last = true, "0" // replies that were read before are ignored by their ids
			continue
		}
		try, last = 0, next
		size := 0
		for _, elem := range elems {
			lying++
			size += len(elem)
			in.c.deliver(elem, again)
		}
		bytes += size
		if laterID(next, newest) {
			again, newest = false, next
		}
		count = nextCount(count, size)
		if lying > trimElems || bytes > trimBytes {
			lying, bytes = 0, 0
			redisio.Of(in.c.pool).Writer().Do(ctx, func(int64, error) {}, "xtrim", in.key, "minid", last)
		}
	}
	return ctx.Err()
}

// laterID reports whether an id of a stream, ms-seq, is later than another.
func laterID(id, other string) bool {
	ms, seq := splitID(id)
	otherMS, otherSeq := splitID(other)
	return ms > otherMS || ms == otherMS && seq > otherSeq
}

func splitID(id string) (ms, seq uint64) {
	a, b, _ := strings.Cut(id, "-")
	ms, _ = strconv.ParseUint(a, 10, 64)
	seq, _ = strconv.ParseUint(b, 10, 64)
	return ms, seq
}

// nextCount returns how many entries to read next, after a read of count entries had so
// many bytes: XREAD has no limit in bytes.
func nextCount(count, size int) int {
	if size > readBytes {
		return max(count*readBytes/size, 1)
	}
	return min(2*count, readCount)
}

// recover waits after a failed read until Redis can be reached and has the inbox, or
// ctx ends.
func (in *inbox) recover(ctx context.Context, client redis.UniversalClient, err error, try *int) {
	for err != nil && ctx.Err() == nil {
		in.c.link.markDown(err)
		if !redisio.Sleep(ctx, redisio.Backoff(*try)) {
			return
		}
		*try++
		err = in.c.renew(ctx, client)
	}
	if err == nil {
		in.c.link.markUp()
	}
}
