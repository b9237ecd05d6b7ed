package gateway

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/pubsub"
	"github.com/heliograph/heliograph/storage"
)

// remoteEnd is the part of a handler that carries out what a [Remote] asks for.
type remoteEnd struct {
	h        *Handler
	client   *pubsub.Client
	commands pubsub.Topic[remoteCommand]
	kept     string
	missed   chan struct{} // holds one: commands may have been missed
	caughtUp int64         // when Redis was last asked for what it keeps; used by follow

	// carrying is held while a command is carried out, so that none that was missed comes
	// after a later one that was received.
	carrying sync.Mutex

	mu   sync.Mutex
	done map[remoteID]bool // kept commands that were carried out: those since caughtUp, and a few before
}

// remoteID identifies a command.
type remoteID struct {
	from     string
	question uint64
}

func (c *remoteCommand) id() remoteID { return remoteID{c.From, c.Question} }

func newRemoteEnd(h *Handler) (*remoteEnd, error) {
	e := &remoteEnd{h: h, missed: make(chan struct{}, 1), done: make(map[remoteID]bool)}
	var err error
	if e.commands, e.kept, err = remoteNames(h.pool, h.cfg.Remote); err != nil {
		return nil, err
	}
	if h.redis != nil && h.redis.own { // the subscriptions share a connection
		e.client = h.redis.client
		return e, nil
	}
	e.client, err = pubsub.NewClient(h.pool, pubsub.Config{})
	return e, err
}

// run follows the commands until the handler is closed, on a goroutine of its own.
func (e *remoteEnd) run() {
	h := e.h
	if h.redis == nil || e.client != h.redis.client {
		defer func() { _ = e.client.Close() }()
	}
	for try := 0; h.ctx.Err() == nil; try++ {
		listener, err := pubsub.Listen(h.ctx, e.client, e.commands, e.receive, pubsub.SubscribeOptions{Overflow: pubsub.OverflowDropOldest})
		if err == nil {
			try = 0
			e.follow(listener)
		} else if h.ctx.Err() == nil {
			h.warned.remote.Warn(h.log, "gateway: the commands of Config.Remote are not received, trying again", "remote", h.cfg.Remote, "error", err)
		}
		redisio.Sleep(h.ctx, redisio.Backoff(try))
	}
}

// remoteEvery is the time between two looks at what Redis keeps.
const remoteEvery = time.Minute

// follow catches up at once, after each gap, and periodically: the last time is how long the
// handler may have missed commands. It returns when the listener has ended.
func (e *remoteEnd) follow(listener *pubsub.Listener) {
	h := e.h
	defer func() {
		_ = listener.Close()
		<-listener.Done()
	}()
	for try := 0; ; {
		wait := remoteEvery
		if err := e.catchUp(); err == nil {
			try = 0
		} else if h.ctx.Err() == nil {
			h.warned.remote.Warn(h.log, "gateway: missed commands of Config.Remote were not read, trying again", "remote", h.cfg.Remote, "error", err)
			wait = redisio.Backoff(try)
			try++
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-e.missed:
		case <-listener.Done():
		case <-h.ctx.Done():
		}
		timer.Stop()
		if h.ctx.Err() != nil || listener.Err() != nil {
			return
		}
	}
}

// receive carries out a command, and answers. The next one waits for it.
func (e *remoteEnd) receive(ctx context.Context, m pubsub.Message[remoteCommand]) error {
	if errors.Is(m.Err, pubsub.ErrGap) {
		select {
		case e.missed <- struct{}{}:
		default: // follow has not looked yet
		}
		return nil
	}
	if m.Err != nil {
		return m.Err
	}
	ctx, cancel := context.WithTimeout(ctx, e.h.cfg.Limits.Command)
	defer cancel()
	e.carrying.Lock()
	if m.Value.Op.isKept() {
		e.setDone(m.Value.id())
	}
	n, err := e.h.carryOut(ctx, m.Value, e.h.elapsed())
	e.carrying.Unlock()
	if err != nil || m.Value.From == "" { // nothing waits for an answer
		return err
	}
	answers, err := ownTopic[remoteAnswer](e.h.pool, "answers:"+m.Value.From)
	if err != nil {
		return err
	}
	_, err = pubsub.Publish(ctx, e.client, answers, remoteAnswer{Question: m.Value.Question, Connections: n})
	return err
}

// keptScript returns the commands that were kept at most so many ms ago, each before its age
// in ms.
//
// KEYS: the sorted set. ARGV: the ms.
var keptScript = redisio.NewScript(`
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local kept = redis.call('ZRANGE', KEYS[1], now - ARGV[1], '+inf', 'BYSCORE', 'WITHSCORES')
for i = 2, #kept, 2 do kept[i] = string.format('%.0f', math.max(0, now - kept[i])) end
return kept`)

// catchUp carries out what Redis has kept since the last time, for connections that were
// there before. Ages are compared, so that clocks may differ.
func (e *remoteEnd) catchUp() error {
	h := e.h
	ctx, cancel := context.WithTimeout(h.ctx, h.cfg.Limits.Command)
	defer cancel()
	const margin = 10 * time.Second // for steps of the server's clock
	begin := h.elapsed()
	away := time.Duration(begin - e.caughtUp)
	e.mu.Lock()
	done := e.done
	e.done = make(map[remoteID]bool) // what comes from now on, and below those that the next time may return again
	e.mu.Unlock()
	words, err := keptScript.Run(ctx, h.pool.Redis(), []string{e.kept}, (away + margin).Milliseconds()).StringSlice()
	if err != nil {
		e.mu.Lock()
		maps.Copy(e.done, done)
		e.mu.Unlock()
		return redisio.Normalize(ctx, err)
	}
	e.caughtUp = begin
	if away > remoteKept {
		h.reconnectAll()
		return nil
	}
	for i := 0; i+1 < len(words); i += 2 {
		var command remoteCommand
		age, err := strconv.ParseInt(words[i+1], 10, 64)
		if err == nil {
			err = storage.JSON.Unmarshal([]byte(words[i]), &command)
		}
		if err == nil && !done[command.id()] {
			err = e.carryOutMissed(ctx, command, begin-age*int64(time.Millisecond))
		}
		if err != nil {
			h.warned.remote.Warn(h.log, "gateway: a kept command of Config.Remote was not carried out", "remote", h.cfg.Remote, "error", err)
		}
		e.setDone(command.id())
	}
	return nil
}

// carryOutMissed carries out a kept command, unless it has been received meanwhile.
func (e *remoteEnd) carryOutMissed(ctx context.Context, command remoteCommand, at int64) error {
	e.carrying.Lock()
	defer e.carrying.Unlock()
	e.mu.Lock()
	received := e.done[command.id()]
	e.mu.Unlock()
	if received {
		return nil
	}
	_, err := e.h.carryOut(ctx, command, at)
	return err
}

func (e *remoteEnd) setDone(id remoteID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.done[id] = true
}

// reconnectAll asks all clients with a principal to reconnect, since the handler can't know
// which of them it should have disconnected.
func (h *Handler) reconnectAll() {
	h.log.Warn("gateway: Redis was unreachable for longer than it keeps the commands of Config.Remote; clients with a principal are asked to reconnect", "remote", h.cfg.Remote)
	for _, c := range h.all() {
		if c.Principal().Name != "" {
			c.closeForRestart()
		}
	}
}

// carryOut does what a command asks for to the connections of its principal that were there
// at a time, and returns their number.
func (h *Handler) carryOut(ctx context.Context, command remoteCommand, at int64) (int, error) {
	var conns []*Conn
	var do func(c *Conn) bool
	switch command.Op {
	case remoteDisconnect:
		h.noteDisconnect(command.Principal, at)
		conns, do = h.all(), (*Conn).disconnect
	case remoteUnsubscribe:
		h.withdrawn.Add(1)
		conns, do = h.all(), func(c *Conn) bool { return c.withdraw(ctx, command.Channel) }
	case remoteSubscribe:
		conns, do = h.Conns(), func(c *Conn) bool { return c.subscribe(ctx, command.Channel, true) == nil }
	case remoteSend:
		conns, do = h.Conns(), func(c *Conn) bool { c.Send(command.Data); return true }
	default:
		return 0, fmt.Errorf("gateway: a command of Config.Remote has the op %q", command.Op)
	}
	var n atomic.Int64
	var all sync.WaitGroup
	slots := make(chan struct{}, 64)
	for _, c := range conns {
		if name := c.Principal().Name; name == "" || name != command.Principal || c.connectedAt > at {
			continue
		}
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			if do(c) {
				n.Add(1)
			}
		})
	}
	all.Wait()
	return int(n.Load()), nil
}
