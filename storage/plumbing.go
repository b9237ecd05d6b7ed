package storage

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/internal/redisio"
)

// plumbing is a pool as the other packages of the module use it; its methods are
// documented at [redisio.Pool].
type plumbing struct{ *Pool }

func init() {
	redisio.Of = func(pool any) redisio.Pool { return plumbing{pool.(*Pool)} }
}

func (p plumbing) Writer() *redisio.Writer {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.writer == nil {
		client := p.derive(tuning{once: true, conns: redisio.WriterConns, primaries: true, buffers: 64 << 10})
		redisio.MarkDials(client)
		p.writer = redisio.NewWriter(redisio.WriterConfig{
			Client: client, MaxQueued: p.cfg.MaxQueued, MaxBytes: p.cfg.MaxQueuedBytes, Logger: p.cfg.Logger,
		})
		if p.closing {
			_ = p.writer.Close()
		}
	}
	return p.writer
}

func (p plumbing) Dedicated() redis.UniversalClient {
	client := p.derive(tuning{once: true, conns: 1, primaries: true, readTimeout: redisio.BlockTime + 2*time.Second, buffers: 64 << 10})
	redisio.MarkDials(client)
	return client
}

func (p plumbing) Blocking(ctx context.Context, read func(ctx context.Context, client redis.UniversalClient) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	inner, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ended := make(chan struct{})
	disown, err := p.Own(func() error {
		cancel(ErrClosed)
		<-ended
		return nil
	})
	if err != nil {
		return err
	}
	defer disown()
	defer close(ended)

	client := p.Dedicated()
	closeClient := sync.OnceValue(client.Close)
	defer closeClient()
	defer context.AfterFunc(inner, func() { _ = closeClient() })()
	err = read(inner, client)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(context.Cause(inner), ErrClosed):
		return ErrClosed
	}
	return redisio.Normalize(ctx, err)
}

func (p plumbing) Own(end func() error) (disown func(), err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closing {
		return nil, ErrClosed
	}
	o := &end // functions can't be compared
	p.owned = append(p.owned, o)
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if i := slices.Index(p.owned, o); i >= 0 {
			p.owned = slices.Delete(p.owned, i, i+1)
		}
	}, nil
}

func (p plumbing) Database() int { return p.origin.db }

func (p plumbing) Logger() *slog.Logger { return p.cfg.Logger }
