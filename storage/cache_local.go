package storage

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/redis/go-redis/v9"

	"github.com/heliograph/heliograph/internal/redisio"
)

// localLayer is the part of a cache in the process: the client-side cache of a
// go-redis client that is used for nothing else. Redis notifies that client when a
// key that it has read changes. A nil localLayer does nothing.
type localLayer struct {
	pool *Pool
	opts CacheOptions
	live atomic.Pointer[localClient] // nil: not made yet, or never

	mu     sync.Mutex
	never  string // why there is none
	closed bool
}

type localClient struct {
	*redis.Client
	values *localValues
}

func newLocalLayer(pool *Pool, opts CacheOptions) *localLayer {
	return &localLayer{pool: pool, opts: opts}
}

// client returns the client to read with, or nil if there is no local layer. The first
// call finds that out; if Redis did not answer, the next call tries again.
func (l *localLayer) client(ctx context.Context) *redis.Client {
	if l == nil {
		return nil
	}
	if live := l.live.Load(); live != nil {
		return live.Client
	}
	if !l.mu.TryLock() {
		return nil // another goroutine is finding out
	}
	defer l.mu.Unlock()
	if l.closed || l.never != "" || l.live.Load() != nil {
		return nil
	}
	opts := l.pool.origin.single()
	if l.never = whyNoLocal(opts); l.never != "" {
		return nil
	}
	if _, ok := tracking(ctx, l.pool.objects(), &l.never); !ok {
		return nil
	}
	values := &localValues{redis.NewLocalCache(redis.CacheConfig{
		MaxEntries: l.opts.MaxLocal, MaxMemoryBytes: int64(l.opts.MaxLocalBytes), MaxStaleness: l.opts.LocalTTL,
	})}
	opts.ClientSideCache, opts.ClientSideCacheConfig = values, nil
	opts.MaxRetries = -1
	live := &localClient{redis.NewClient(opts), values}
	if on, ok := tracking(ctx, live.Client, &l.never); !ok || !on {
		if ok {
			l.never = "CLIENT TRACKING was refused"
		}
		_ = live.Close()
		return nil
	}
	l.live.Store(live)
	return live.Client
}

// whyNoLocal returns why a client's options don't allow a local layer.
func whyNoLocal(opts *redis.Options) string {
	switch {
	case opts == nil:
		return "not a standalone server"
	case opts.DB != 0:
		return fmt.Sprintf("database %d", opts.DB)
	case opts.Protocol == 2:
		return "RESP2"
	case opts.CredentialsProvider != nil || opts.CredentialsProviderContext != nil || opts.StreamingCredentialsProvider != nil:
		return "a provider of credentials"
	}
	return ""
}

// tracking reports whether Redis notifies a client's connections of changes. If the
// server can't, the reason is in never; ok is also false if it did not answer.
func tracking(ctx context.Context, client redis.UniversalClient, never *string) (on, ok bool) {
	info, err := client.Do(ctx, "client", "trackinginfo").Result()
	if err != nil {
		if _, reply := err.(redis.Error); reply && !redisio.Passing(err) {
			*never = err.Error()
		}
		return false, false
	}
	fields, _ := info.(map[any]any)
	flags, _ := fields["flags"].([]any)
	return slices.Contains(flags, any("on")), true
}

// drop removes a key that this process has changed, without waiting for Redis's
// notification.
func (l *localLayer) drop(key string) {
	if l == nil {
		return
	}
	if live := l.live.Load(); live != nil {
		live.values.DeleteByRedisKey(key)
	}
}

func (l *localLayer) stats(s *CacheStats) {
	if l == nil {
		s.NoLocal = "CacheOptions.MaxLocal is 0"
		return
	}
	if live := l.live.Load(); live != nil {
		n := live.values.Stats()
		s.LocalHits, s.LocalValues, s.LocalBytes = int64(n.Hits), n.Entries, n.MemoryUsageBytes
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s.NoLocal = l.never
}

func (l *localLayer) close() error {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	again := l.closed
	l.closed = true
	if live := l.live.Load(); live != nil && !again {
		return live.Close()
	}
	return nil
}

// localValues files its entries under the bare key too: go-redis puts database
// and user before it, and does not tell how.
type localValues struct{ *redis.LocalCache }

func (v *localValues) Reserve(cacheKey string, keys []string) (uint64, bool) {
	all := slices.Clone(keys)
	for _, key := range keys {
		all = append(all, key[strings.LastIndexByte(key, 0)+1:]) // ours hold no NUL
	}
	return v.LocalCache.Reserve(cacheKey, all)
}
