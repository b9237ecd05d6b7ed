package bus

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/storage"
)

// inbox is the stream of a client's replies. It exists only as long as the
// client does: workers write to a stream that is there and make none.
type inbox struct {
	c   *Client
	key string
}

// Bounds of what has been read and still lies in the inbox, and of one read, in
// entries.
const (
	trimElems = 1000
	trimBytes = 1 << 20
	readCount = 128
)

// create makes the stream if it is not there, and renews its time to live.
func (in *inbox) create(ctx context.Context, client redis.UniversalClient) error {
	there, err := client.PExpire(ctx, in.key, inboxTTL).Result()
	if err == nil && !there {
		_, err = client.TxPipelined(ctx, func(tx redis.Pipeliner) error {
			tx.XAdd(ctx, &redis.XAddArgs{Stream: in.key, Values: []string{storage.StreamField, ""}})
			tx.PExpire(ctx, in.key, inboxTTL)
			return nil
		})
	}
	return storage.Normalize(ctx, err)
}

// read delivers what comes until the client is closed.
func (in *inbox) read() { _ = in.c.pool.Blocking(in.c.ctx, in.follow) }

func (in *inbox) follow(ctx context.Context, client redis.UniversalClient) error {
	last := "0" // all that is there
	elems, bytes := 0, 0
	for try := 0; ctx.Err() == nil; {
		cmd := storage.Once(ctx, "xread", "count", readCount, "block", storage.BlockTime.Milliseconds(), "streams", in.key, last)
		_ = client.Process(ctx, cmd)
		entries, err := streamEntries(cmd)
		if err != nil {
			if ctx.Err() == nil && in.recover(ctx, client, err, &try) {
				last = "0" // what was read before is known by its id, and ignored
			}
			continue
		}
		try = 0
		for _, e := range entries {
			last = e.id
			for _, elem := range e.elems {
				elems++
				bytes += len(elem)
				in.c.deliver(elem)
			}
		}
		if elems > trimElems || bytes > trimBytes {
			elems, bytes = 0, 0
			in.c.pool.Writer().Do(ctx, func(int64, error) {}, "xtrim", in.key, "minid", last)
		}
	}
	return ctx.Err()
}

// recover waits a little, and reports whether Redis is there again with the
// inbox in it.
func (in *inbox) recover(ctx context.Context, client redis.UniversalClient, err error, try *int) bool {
	in.c.link.lost(err)
	select {
	case <-ctx.Done():
		return false
	case <-time.After(backoff(*try)):
	}
	*try++
	if in.create(ctx, client) != nil {
		return false
	}
	in.c.link.found()
	return true
}

type streamEntry struct {
	id    string
	elems []string
}

// streamEntries reads the answer of an XREAD of one stream: a map in RESP3, a
// list of pairs in RESP2.
func streamEntries(cmd storage.OnceCmd) ([]streamEntry, error) {
	answer, err := cmd.Result()
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var list []any
	switch streams := answer.(type) {
	case map[any]any:
		for _, v := range streams {
			list, _ = v.([]any)
		}
	case []any:
		if len(streams) > 0 {
			if pair, ok := streams[0].([]any); ok && len(pair) == 2 {
				list, _ = pair[1].([]any)
			}
		}
	}
	entries := make([]streamEntry, 0, len(list))
	for _, item := range list {
		pair, _ := item.([]any)
		if len(pair) != 2 {
			continue
		}
		e := streamEntry{}
		e.id, _ = pair[0].(string)
		fields, _ := pair[1].([]any)
		for i := 1; i < len(fields); i += 2 {
			elem, _ := fields[i].(string)
			e.elems = append(e.elems, elem)
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// deliver hands a reply to the call that waits for it, if one still does.
func (c *Client) deliver(elem string) {
	if elem == "" {
		return // the inbox was created with it
	}
	rep := &reply{}
	if err := rep.unpack([]byte(elem)); err != nil {
		c.noise.warn(c.link.log, "bus: a reply that can't be understood", "error", err)
		return
	}
	if call := c.forget(rep.id); call != nil {
		call.finish(rep, nil)
	}
}
