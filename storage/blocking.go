package storage

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// BlockTime is how long a blocking read may wait at the server before it
// returns with nothing and is asked again. Never to return (BLOCK 0) would be to
// never notice a server that has gone without a word.
const BlockTime = 5 * time.Second

// Dedicated returns a client of its own for reads that block, and for whatever
// else must not wait behind other traffic. It has one connection (to each server
// of a cluster), never retries, and gives up a command whose answer takes two
// seconds longer than [BlockTime]. The caller closes it: what reads through it
// is cut, and elements that were on their way to a BLPOP are lost.
func (p *Pool) Dedicated() redis.UniversalClient {
	return p.origin.derive(tuning{once: true, conns: 1, readTimeout: BlockTime + 2*time.Second, buffers: 64 << 10})
}

// Blocking runs read with a [Pool.Dedicated] client and ends it when ctx ends,
// with ctx's error, or when the pool is closed, with [ErrClosed], by closing the
// client. It is for reads that can be repeated, such as XREAD.
func (p *Pool) Blocking(ctx context.Context, read func(ctx context.Context, client redis.UniversalClient) error) error {
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
	return Normalize(ctx, err)
}
