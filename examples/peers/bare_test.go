package peers

import (
	"context"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/storage/storagetest"
)

// bareCommit runs the commands of a commit: it checks an owner and a counter, writes
// values, and sends the replies and one message.
//
//	KEYS  owner, counter, inbox, a value for each
//	ARGV  owner, counter before, counter after, channel, message, then text, mark and
//	      reply of each value
var bareCommit = redis.NewScript(`
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return redis.error_reply('FENCED') end
local m = redis.call('HMGET', KEYS[2], 'e', 'n')
if m[2] ~= ARGV[2] then return redis.error_reply('LOST') end
local frames, a = {}, 6
for i = 4, #KEYS do
  redis.pcall('HSET', KEYS[i], 'v', ARGV[a], 'm', ARGV[a+1])
  frames[#frames+1] = 'e'
  frames[#frames+1] = ARGV[a+2]
  a = a + 3
end
redis.call('HSET', KEYS[2], 'n', ARGV[3])
redis.call('XADD', KEYS[3], 'NOMKSTREAM', 'MAXLEN', '~', '1000', '*', unpack(frames))
redis.call('PUBLISH', ARGV[4], ARGV[5])
return 1`)

// bareBoard carries out a Modify's commands with little else: no codec, definition,
// lease, cancelling, reconnecting nor error. It is what keywords could reach at best.
func bareBoard(b *testing.B, watched bool) *board {
	cfg := storagetest.BenchServer(b)
	opts := cfg.Redis
	if cfg.URL != "" {
		parsed, err := redis.ParseURL(cfg.URL)
		require.NoError(b, err)
		opts.Addrs = []string{parsed.Addr}
	}
	ctx, stop := context.WithCancel(context.Background())
	client := func() redis.UniversalClient {
		c := redis.NewUniversalClient(&opts)
		b.Cleanup(func() { _ = c.Close() })
		return c
	}
	name := "{bare-" + newSite() + "}"
	queue, inbox, owner, counter := name+"q", name+"in", name+"own", name+"n"
	rdb := client()
	require.NoError(b, rdb.Set(ctx, owner, "1:dispatcher", 0).Err())
	require.NoError(b, rdb.HSet(ctx, counter, "e", "1", "n", "0").Err())
	require.NoError(b, rdb.XAdd(ctx, &redis.XAddArgs{Stream: inbox, Values: []string{"e", ""}}).Err())

	var running sync.WaitGroup
	b.Cleanup(func() { stop(); rdb.RPush(context.Background(), queue, ""); running.Wait() })
	padding := strings.Repeat("x", 60)
	running.Go(func() { // the dispatcher
		c, n := client(), 0
		for ctx.Err() == nil {
			_, elems, err := c.BLMPop(ctx, 0, "left", 64, queue).Result()
			if err != nil || elems[0] == "" {
				return
			}
			keys := []string{owner, counter, inbox}
			var args []any
			var message strings.Builder
			for _, elem := range elems {
				head := strings.Fields(elem)
				id, writer, v := head[0], head[1], head[2]
				keys = append(keys, name+writer)
				args = append(args, v, "1764230000000000:"+strconv.Itoa(n)+padding, id+" 1764230000000000:"+strconv.Itoa(n))
				message.WriteString(writer + " " + v + " " + padding + "\n")
			}
			before := n
			n += len(elems)
			args = append([]any{"1:dispatcher", before, n, name + "changes", message.String()}, args...)
			if err := bareCommit.Run(ctx, c, keys, args...).Err(); err != nil {
				panic(err)
			}
			runtime.Gosched()
		}
	})
	var waiting sync.Map
	running.Go(func() { // the reader of replies
		c, last := client(), "0"
		for ctx.Err() == nil {
			answer, err := c.Do(ctx, "xread", "count", 128, "block", 500, "streams", inbox, last).Result()
			if err != nil {
				continue
			}
			for _, streams := range answer.(map[any]any) {
				for _, entry := range streams.([]any) {
					pair := entry.([]any)
					last = pair[0].(string)
					for i, fields := 1, pair[1].([]any); i < len(fields); i += 2 {
						id, _, _ := strings.Cut(fields[i].(string), " ")
						if w, ok := waiting.LoadAndDelete(id); ok {
							close(w.(chan struct{}))
						}
					}
				}
			}
		}
	})
	var mu sync.Mutex
	var pending []any
	var sending bool
	sender := client()
	send := func() {
		for {
			mu.Lock()
			batch := pending
			pending = nil
			sending = len(batch) > 0
			mu.Unlock()
			if len(batch) == 0 {
				return
			}
			if err := sender.RPush(ctx, queue, batch...).Err(); err != nil && ctx.Err() == nil {
				panic(err)
			}
			runtime.Gosched()
		}
	}
	var ids atomic.Int64
	p := &board{last: make([]atomic.Int64, maxWriters), put: func(writer int, v int64) {
		id := strconv.FormatInt(ids.Add(1), 10)
		done := make(chan struct{})
		waiting.Store(id, done)
		mu.Lock()
		pending = append(pending, fmt.Sprintf("%s AXIS%d %d %s", id, writer, v, padding))
		if !sending {
			sending = true
			go send()
		}
		mu.Unlock()
		<-done
	}}
	if !watched {
		return p
	}
	sub := client().Subscribe(ctx, name+"changes")
	_, err := sub.Receive(ctx)
	require.NoError(b, err)
	running.Go(func() { // the watcher
		for {
			m, err := sub.ReceiveMessage(ctx)
			if err != nil {
				return
			}
			for line := range strings.Lines(m.Payload) {
				head := strings.Fields(line)
				writer, _ := strconv.Atoi(head[0][len("AXIS"):])
				v, _ := strconv.ParseInt(head[1], 10, 64)
				p.see(writer, v)
			}
		}
	})
	b.Cleanup(func() { _ = sub.Close() })
	return p
}

// BenchmarkBareModify compares the commands of a Modify, from a bare program, with the Put
// of NATS KV.
func BenchmarkBareModify(b *testing.B) {
	bare, theirs := bareBoard(b, false), kvBoard(b, false)
	for _, writers := range []int{1, 8, 64} {
		b.Run("writers="+strconv.Itoa(writers), func(b *testing.B) { boards(b, writers, false, bare, theirs) })
	}
}

// BenchmarkBareWatch compares the time from the start of such a bare Modify until a
// subscriber has its message with that of a Put and a watcher of NATS KV.
func BenchmarkBareWatch(b *testing.B) {
	bare, theirs := bareBoard(b, true), kvBoard(b, true)
	for _, writers := range []int{1, 64} {
		b.Run("writers="+strconv.Itoa(writers), func(b *testing.B) { boards(b, writers, true, bare, theirs) })
	}
}
