package storage

import (
	"context"
	"errors"
	"time"

	"github.com/heliograph/heliograph/internal/redisio"
)

// begin takes the turn: an owner makes its changes in Redis one after the other.
func (p *Presence[T]) begin(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case <-p.turn:
	case <-ctx.Done():
		return ctx.Err()
	}
	if p.closed {
		p.end()
		return ErrClosed
	}
	return nil
}

func (p *Presence[T]) end() { p.turn <- struct{}{} }

// presenceHold sets the lease of an owner, or removes the owner if it holds nothing. It
// also removes the owners whose lease has ended. The time is that of Redis.
const presenceHold = luaEach + `
local t = redis.call('TYPE', KEYS[2]).ok
if t ~= 'zset' and t ~= 'none' then return -2 end
local function hold(owner, lease)
  if redis.call('PEXPIRE', KEYS[1], lease) == 0 then
    redis.call('ZREM', KEYS[2], owner)
    return
  end
  local t = redis.call('TIME')
  local now = t[1] * 1000 + math.floor(t[2] / 1000)
  redis.call('ZADD', KEYS[2], string.format('%.0f', now + lease), owner)
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', string.format('(%.0f', now))
  if redis.call('PTTL', KEYS[2]) < tonumber(lease) then redis.call('PEXPIRE', KEYS[2], lease) end
end
`

// Both answer -2 if the owners' key is no sorted set.
var (
	// presenceChange also renews the lease. It answers -1, and does nothing, if
	// the owner does not hold as many as it should: Redis has lost some.
	presenceChange = redisio.NewScript(presenceHold + `
if redis.call('SCARD', KEYS[1]) ~= tonumber(ARGV[3]) then return -1 end
local n = each(ARGV[4], 5)
hold(ARGV[1], ARGV[2])
return n`)
	presenceRewrite = redisio.NewScript(presenceHold + `
redis.call('SCARD', KEYS[1])
redis.call('DEL', KEYS[1])
local n = each('SADD', 3)
hold(ARGV[1], ARGV[2])
return n`)
)

// change adds (SADD) or removes (SREM) members in Redis and in held, and renews the
// lease. If Redis may differ from held, all members are written. After an error the
// members are not held, whatever the command was.
func (p *Presence[T]) change(ctx context.Context, command string, elems []string) error {
	p.mu.Lock()
	size, dirty := len(p.held), p.dirty
	if command == "SREM" {
		for _, e := range elems {
			delete(p.held, e)
		}
	}
	p.mu.Unlock()
	n, err := -1, error(nil)
	if !dirty {
		n, err = p.script(ctx, presenceChange, append([]any{p.opts.Owner, p.opts.Lease.Milliseconds(), size, command}, anys(elems)...))
	}
	var more []string
	if command == "SADD" {
		more = elems
	}
	if n == -1 && err == nil {
		err = p.rewrite(ctx, more)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.dirty = true
		return err
	}
	for _, e := range more {
		p.held[e] = struct{}{}
	}
	return nil
}

// rewrite writes to Redis all that is held, and the members in more, and nothing else.
func (p *Presence[T]) rewrite(ctx context.Context, more []string) error {
	args := []any{p.opts.Owner, p.opts.Lease.Milliseconds()}
	p.mu.Lock()
	p.dirty = false // a change meanwhile sets it again
	for e := range p.held {
		args = append(args, e)
	}
	p.mu.Unlock()
	_, err := p.script(ctx, presenceRewrite, append(args, anys(more)...))
	if err != nil {
		p.mu.Lock()
		p.dirty = true
		p.mu.Unlock()
	}
	return err
}

// forget removes members from held, and does not access Redis.
func (p *Presence[T]) forget(elems []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range elems {
		if _, held := p.held[e]; held {
			delete(p.held, e)
			p.dirty = true
		}
	}
}

func anys(elems []string) []any {
	all := make([]any, len(elems))
	for i, e := range elems {
		all[i] = e
	}
	return all
}

func (p *Presence[T]) script(ctx context.Context, s redisio.Script, args []any) (int, error) {
	n, err := count(p.own.run(ctx, s, []string{p.own.key, p.owners.key}, args...))
	if n == -2 {
		return n, &WrongTypeError{Key: p.owners.key, Want: p.owners.want}
	}
	return n, err
}

// renewAlways starts to renew the lease.
func (p *Presence[T]) renewAlways() {
	if p.stop != nil {
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	p.stop = stop
	p.running.Go(func() {
		ticker := time.NewTicker(p.opts.Lease / 3)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				p.renew(ctx)
			case <-ctx.Done():
				return
			}
		}
	})
}

// renew renews the lease and makes Redis agree with held.
func (p *Presence[T]) renew(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, p.opts.Lease/3)
	defer cancel()
	if p.begin(ctx) != nil {
		return // another change renews the lease
	}
	defer p.end()
	p.mu.Lock()
	idle := len(p.held) == 0 && !p.dirty
	p.mu.Unlock()
	if idle {
		return
	}
	err := p.change(ctx, "SADD", nil)
	if errors.Is(err, context.Canceled) {
		return // by Close
	}
	if failing := err != nil; failing != p.failing {
		p.failing = failing
		if failing {
			p.pool.cfg.Logger.Warn("storage: presence not renewed, trying again", "key", p.own.key, "error", err)
		} else {
			p.pool.cfg.Logger.Info("storage: presence renewed again", "key", p.own.key)
		}
	}
}
