package bus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/internal/redisio"
)

// Queued returns the length of the queue of a [Group], or of the queue of one worker
// with [Direct]. Calls that workers hold, and calls in overflow lists (see
// [HandleOptions]), are not counted. A growing queue says that the group needs more
// workers. While Redis can't be reached Queued tries again until ctx ends.
func (c *Client) Queued(ctx context.Context, to Address) (int, error) {
	ctx, cancel := withEnd(ctx, c.deadline(ctx, time.Now()))
	defer cancel()
	queue, err := c.queueKey(to)
	if err != nil {
		return 0, err
	}
	var n int64
	err = c.ask(ctx, func(ctx context.Context, from redis.UniversalClient) (err error) {
		n, err = from.LLen(ctx, queue).Result()
		return redisio.Normalize(ctx, err)
	})
	if err != nil {
		return 0, redisio.Wrap(fmt.Sprintf("bus: queue of %s", to), err)
	}
	return int(n), nil
}

// queueKey returns the key of an address's queue.
func (c *Client) queueKey(to Address) (string, error) {
	if err := to.check(); err != nil {
		return "", err
	}
	k, err := typeKeys(c.pool, c.cfg.Site, to.typ)
	return k.queueOf(to), err
}

// QueuedCall is a call that waits in a queue.
type QueuedCall struct {
	Method   string    `json:"method"`
	Client   string    `json:"client"`             // host:pid:uid of the caller
	Sent     time.Time `json:"sent"`               // in Redis time
	Deadline time.Time `json:"deadline,omitzero"`  // in Redis time; zero: none
	Stream   bool      `json:"stream,omitempty"`   // the method is a stream
	NoReply  bool      `json:"no_reply,omitempty"` // by Send
	Header   Header    `json:"header,omitempty"`
	Body     Body      `json:"body"`
}

// maxPeek is the largest number of calls that Peek returns.
const maxPeek = 1000

// Peek returns the n calls at the head of an address's queue, or fewer, next first. They
// stay there. N is at most 1,000. Requests that can't be decoded are left out. While Redis
// can't be reached Peek tries again until ctx ends.
func (c *Client) Peek(ctx context.Context, to Address, n int) ([]QueuedCall, error) {
	ctx, cancel := withEnd(ctx, c.deadline(ctx, time.Now()))
	defer cancel()
	queue, err := c.queueKey(to)
	if err == nil && (n < 0 || n > maxPeek) {
		err = fmt.Errorf("bus: Peek: %d calls: want 0 to %d", n, maxPeek)
	}
	if err != nil || n == 0 {
		return nil, err
	}
	var frames []string
	err = c.ask(ctx, func(ctx context.Context, from redis.UniversalClient) (err error) {
		frames, err = from.LRange(ctx, queue, 0, int64(n)-1).Result()
		return redisio.Normalize(ctx, err)
	})
	if err != nil {
		return nil, redisio.Wrap(fmt.Sprintf("bus: queue of %s", to), err)
	}
	var calls []QueuedCall
	for _, frame := range frames {
		var r request
		if frame == "" || r.unpack(frame) != nil {
			continue
		}
		q := QueuedCall{
			Method: r.method, Client: r.client, Sent: time.UnixMilli(r.sent),
			Stream: r.window.items > 0, NoReply: r.id == 0, Header: r.header, Body: r.body,
		}
		if r.deadline != 0 {
			q.Deadline = time.UnixMilli(r.deadline)
		}
		calls = append(calls, q)
	}
	return calls, nil
}

// purgeCount is how many calls are purged at a time.
const purgeCount = 64

// Purge removes the calls that wait in an address's queue, and returns how many there
// were. Their callers get an [*Error] with [CodePurged]. Calls that come meanwhile stay, as
// do calls that workers hold and those in overflow lists. If it fails, the calls that it
// has counted are purged.
func (c *Client) Purge(ctx context.Context, to Address) (purged int, err error) {
	ctx, cancel := withEnd(ctx, c.deadline(ctx, time.Now()))
	defer cancel()
	queue, err := c.queueKey(to)
	if err != nil {
		return 0, err
	}
	left, err := c.Queued(ctx, to)
	if err != nil {
		return 0, err
	}
	plain, err := c.primary()
	if err != nil {
		return 0, err
	}
	for left > 0 {
		pop := redisio.Once(ctx, "lpop", queue, min(left, purgeCount))
		_ = plain.Process(ctx, pop)
		frames, err := pop.StringSlice()
		if errors.Is(err, redis.Nil) {
			break
		}
		if err != nil {
			return purged, redisio.Wrap(fmt.Sprintf("bus: purge of %s", to), local(redisio.Normalize(ctx, err)))
		}
		purged += c.refuse(frames)
		left -= len(frames)
	}
	return purged, nil
}

// refuse answers calls that were purged, and returns how many there are.
func (c *Client) refuse(frames []string) (calls int) {
	var told sync.WaitGroup
	for _, frame := range frames {
		if frame == "" {
			continue
		}
		calls++
		id, client, ok := caller(frame)
		inbox, err := inboxKey(c.pool, c.cfg.Site, client)
		if !ok || err != nil {
			continue
		}
		rep := reply{id: id, code: CodePurged, text: "the call was removed from its queue"}
		told.Add(1)
		redisio.Of(c.pool).Writer().Append(lasting(redisio.BlockTime), inbox, rep.pack(), func(int64, error) { told.Done() })
	}
	told.Wait()
	return calls
}

// Pause keeps the workers of a type from beginning calls, those to a single worker
// included, for some time or until [Client.Resume]. Calls that they have taken run on, and
// built-in methods are answered. Others wait in their queues: their callers see nothing
// but their deadlines, and [ErrQueueFull]. Workers that start later pause too. Jobs have a
// pause of their own.
func (c *Client) Pause(ctx context.Context, typ string, d time.Duration) error {
	if d < time.Millisecond {
		return fmt.Errorf("bus: Pause: %v is less than a millisecond", d)
	}
	return c.steer(ctx, "pause", typ, func(ctx context.Context, client redis.UniversalClient, key string) error {
		return client.Set(ctx, key, "", d).Err()
	})
}

// Resume ends a [Client.Pause].
func (c *Client) Resume(ctx context.Context, typ string) error {
	return c.steer(ctx, "resume", typ, func(ctx context.Context, client redis.UniversalClient, key string) error {
		return client.Del(ctx, key).Err()
	})
}

// steer sets the key that pauses a type, and has its workers read it.
func (c *Client) steer(ctx context.Context, verb, typ string, set func(context.Context, redis.UniversalClient, string) error) error {
	ctx, cancel := withEnd(ctx, c.deadline(ctx, time.Now()))
	defer cancel()
	err := checkName("type", typ)
	if err == nil {
		err = c.ask(ctx, func(ctx context.Context, client redis.UniversalClient) error {
			k, err := typeKeys(c.pool, c.cfg.Site, typ)
			if err == nil {
				err = redisio.Normalize(ctx, set(ctx, client, k.paused()))
			}
			if err != nil {
				return err
			}
			workers, _, err := c.workers(ctx, client, typ)
			for _, w := range workers {
				c.sendNotice(lasting(redisio.BlockTime), w.ID, notice{kind: kindRenew})
			}
			return err
		})
	}
	if err != nil {
		return redisio.Wrap("bus: "+verb+" "+typ, err)
	}
	return nil
}

// pause says whether a worker begins no calls.
type pause struct {
	mu     sync.Mutex
	ended  chan struct{} // nil: there was none
	paused bool
}

// set begins or ends the pause, and reports whether that is news.
func (p *pause) set(paused bool) (news bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.paused == paused {
		return false
	}
	p.paused = paused
	if paused {
		p.ended = make(chan struct{})
	} else {
		close(p.ended)
	}
	return true
}

// isSet reports whether the worker pauses.
func (p *pause) isSet() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.paused
}

// wait waits for the end of the pause, and returns false once stop is closed.
func (p *pause) wait(stop <-chan struct{}) bool {
	for {
		p.mu.Lock()
		paused, ended := p.paused, p.ended
		p.mu.Unlock()
		if !paused {
			return true
		}
		select {
		case <-ended:
		case <-stop:
			return false
		}
	}
}
