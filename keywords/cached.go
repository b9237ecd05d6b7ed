package keywords

import (
	"context"
	"sync"
	"time"
)

// cacheIdle is how long a keyword is followed after it was last read with
// ReadOptions.Cached.
const cacheIdle = time.Minute

// cache has the keywords that are read with ReadOptions.Cached. The client follows
// each with a watcher, whose newest notice is the answer.
type cache struct {
	mu    sync.Mutex
	all   map[string]*cachedKeyword // by service.NAME; nil: the client is closed
	sweep *time.Timer               // nil: all is empty
}

type cachedKeyword struct {
	w     *watcher
	begun chan struct{} // closed once leave or err is set
	leave func()        // ends the watcher
	err   error         // why it can't be followed
	used  time.Time     // guarded by cache.mu
}

// cached returns the newest value of a keyword, which it begins to follow if it does
// not. It returns false if ClientConfig.MaxCached keywords are followed already.
func (c *Client) cached(ctx context.Context, t target) (r readResult, followed bool, err error) {
	key := t.service + "." + t.name
	for {
		k, first, err := c.entry(key)
		if k == nil || err != nil {
			return readResult{}, false, err
		}
		if first {
			c.follow(ctx, key, k, t)
		} else if !closed(k.begun) {
			select {
			case <-k.begun:
			case <-ctx.Done():
				return readResult{}, false, ctx.Err()
			}
		}
		if k.err != nil {
			if first {
				return readResult{}, false, k.err
			}
			continue // the caller that began may have had less time
		}
		n, ok, err := k.w.newest(key)
		if err != nil { // what it followed has ended
			c.drop(key, k)
			if first {
				return readResult{}, false, err
			}
			continue
		}
		return readResult{record: n.rec, ok: ok && n.kind != EventGone, defined: true, quality: n.quality}, true, nil
	}
}

// entry returns the entry of a keyword; nil: there are too many. First says that the
// caller has to follow the keyword.
func (c *Client) entry(key string) (k *cachedKeyword, first bool, err error) {
	c.cache.mu.Lock()
	defer c.cache.mu.Unlock()
	if c.cache.all == nil {
		return nil, false, ErrClosed
	}
	k = c.cache.all[key]
	if k == nil {
		if len(c.cache.all) >= c.cfg.MaxCached {
			return nil, false, nil
		}
		k, first = &cachedKeyword{w: newWatcher(WatchOptions{}, &c.stats), begun: make(chan struct{})}, true
		k.w.kept = true
		c.cache.all[key] = k
		if c.cache.sweep == nil {
			c.cache.sweep = time.AfterFunc(cacheIdle, c.sweepCache)
		}
	}
	k.used = time.Now()
	return k, first, nil
}

// follow begins to follow the keyword of an entry.
func (c *Client) follow(ctx context.Context, key string, k *cachedKeyword, t target) {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	k.leave, k.err = c.watch(ctx, t, k.w)
	if k.err != nil {
		c.drop(key, k)
	}
	close(k.begun)
}

// drop removes an entry and ends its watcher.
func (c *Client) drop(key string, k *cachedKeyword) {
	c.cache.mu.Lock()
	ours := c.cache.all[key] == k
	if ours {
		delete(c.cache.all, key)
	}
	c.cache.mu.Unlock()
	if ours && k.leave != nil {
		k.leave()
	}
}

// sweepCache ends what was not read for a while.
func (c *Client) sweepCache() {
	c.cache.mu.Lock()
	idle := make(map[string]*cachedKeyword)
	for key, k := range c.cache.all {
		if closed(k.begun) && time.Since(k.used) >= cacheIdle {
			idle[key] = k
		}
	}
	switch {
	case c.cache.sweep == nil: // the client is closed
	case len(idle) == len(c.cache.all):
		c.cache.sweep = nil
	default:
		c.cache.sweep.Reset(cacheIdle / 4)
	}
	for key := range idle {
		delete(c.cache.all, key)
	}
	c.cache.mu.Unlock()
	for _, k := range idle {
		if k.leave != nil {
			k.leave()
		}
	}
}

// close forgets all entries. Their feeds end with the client.
func (s *cache) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = nil
	if s.sweep != nil {
		s.sweep.Stop()
		s.sweep = nil
	}
}

func (s *cache) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.all)
}
