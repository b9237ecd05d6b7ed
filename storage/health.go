package storage

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/internal/redisio"
)

// healthTime bounds Health where its context has no deadline.
const healthTime = 5 * time.Second

// Health returns nil if the pool is open, Redis answers a PING, and no write waits
// because Redis refuses writes (it is loading, read-only or out of memory). Its
// error says which of these failed and why. It waits until ctx ends, and at most 5
// seconds where ctx has no deadline, so that a /healthz handler can call it with
// the context of its request.
func (p *Pool) Health(ctx context.Context) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, healthTime)
		defer cancel()
	}
	p.mu.Lock()
	closing, writer := p.closing, p.writer
	p.mu.Unlock()
	if closing {
		return fmt.Errorf("storage: health: %w", ErrClosed)
	}
	if err := p.Redis().Ping(ctx).Err(); err != nil {
		if errors.Is(err, redis.ErrClosed) {
			err = ErrClosed
		}
		return fmt.Errorf("storage: health: Redis at %s does not answer PING: %w", p.cfg, redisio.Normalize(ctx, err))
	}
	if writer == nil {
		return nil
	}
	if trouble, queued := writer.Trouble(), writer.Stats().Queued; trouble != nil && queued > 0 {
		return fmt.Errorf("storage: health: Redis answers PING, but %d writes wait: %w", queued, trouble)
	}
	return nil
}
