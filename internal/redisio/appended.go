package redisio

import (
	"context"
	"errors"

	"github.com/redis/go-redis/v9"
)

// ReadAppended waits up to [BlockTime] for elements that [Writer.Append] has
// added to a stream after the entry with the id after ("0" for all), and returns the
// elements of at most count entries and the id of the last entry. Without any it
// returns after. Client should be one of [Pool].Dedicated.
func ReadAppended(ctx context.Context, client redis.UniversalClient, stream, after string, count int) (elems []string, last string, err error) {
	cmd := Once(ctx, "xread", "count", count, "block", BlockTime.Milliseconds(), "streams", stream, after)
	_ = client.Process(ctx, cmd)
	answer, err := cmd.Result()
	if errors.Is(err, redis.Nil) {
		return nil, after, nil
	}
	if err != nil {
		return nil, after, Normalize(ctx, err)
	}
	last = after
	// Not through redis.XStream: its entries are maps, and these entries repeat a field.
	for _, entry := range entriesOf(answer) {
		pair, _ := entry.([]any)
		if len(pair) != 2 {
			continue
		}
		last, _ = pair[0].(string)
		fields, _ := pair[1].([]any)
		for i := 1; i < len(fields); i += 2 {
			elem, _ := fields[i].(string)
			elems = append(elems, elem)
		}
	}
	return elems, last, nil
}

// entriesOf returns the entries in the answer to an XREAD of one stream: a map
// in RESP3, a list of pairs in RESP2.
func entriesOf(answer any) (entries []any) {
	switch streams := answer.(type) {
	case map[any]any:
		for _, v := range streams {
			entries, _ = v.([]any)
		}
	case []any:
		if len(streams) == 1 {
			if pair, ok := streams[0].([]any); ok && len(pair) == 2 {
				entries, _ = pair[1].([]any)
			}
		}
	}
	return entries
}
