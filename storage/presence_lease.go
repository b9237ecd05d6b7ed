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
	// presenceUpdate also renews the lease. It answers -1, and does nothing, if
	// the owner does not hold as many as it should: Redis has lost some.
	presenceUpdate = redisio.NewScript(presenceHold + `
if redis.call('SCARD', KEYS[1]) ~= tonumber(ARGV[3]) then return -1 end
local adds = 5 + ARGV[4]
each('SREM', 5, adds - 1)
each('SADD', adds)
hold(ARGV[1], ARGV[2])
return 0`)
	presenceRewrite = redisio.NewScript(presenceHold + `
redis.call('SCARD', KEYS[1])
redis.call('DEL', KEYS[1])
each('SADD', 3)
hold(ARGV[1], ARGV[2])
return 0`)
)

// write makes changes in Redis, of members to whether they will be held, and in held, and
// renews the lease. If Redis may differ from held, all members are written. After an error
// the members are not held, whatever the changes were.
func (p *Presence[T]) write(ctx context.Context, changes map[string]bool) error {
	var adds, removes []any
	for e, add := range changes {
		if add {
			adds = append(adds, e)
		} else {
			removes = append(removes, e)
		}
	}
	p.mu.Lock()
	size, dirty := len(p.held), p.dirty
	p.mu.Unlock()
	n, err := -1, error(nil)
	if !dirty {
		args := append([]any{p.opts.Owner, p.opts.Lease.Milliseconds(), size, len(removes)}, removes...)
		n, err = p.script(ctx, presenceUpdate, append(args, adds...))
	}
	if n == -1 && err == nil {
		args := append([]any{p.opts.Owner, p.opts.Lease.Milliseconds()}, adds...)
		p.mu.Lock()
		p.dirty = false // a change meanwhile sets it again
		for e := range p.held {
			if _, changed := changes[e]; !changed {
				args = append(args, e)
			}
		}
		p.mu.Unlock()
		_, err = p.script(ctx, presenceRewrite, args)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for e, add := range changes {
		if add && err == nil {
			p.held[e] = struct{}{}
		} else {
			delete(p.held, e)
		}
	}
	p.dirty = p.dirty || err != nil
	return err
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
	err := p.write(ctx, nil)
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
