package jwt

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/heliograph/heliograph/internal/redisio"
)

// defaultClient reads key sets. It keeps no connections, since reads are rare.
var defaultClient = &http.Client{
	Transport: &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DisableKeepAlives:      true,
		ForceAttemptHTTP2:      true,
		MaxResponseHeaderBytes: 64 << 10,
	},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// keySet is the keys of a Config and those that were last read from its URL or File. The
// goroutines that verify tokens read them again, one at a time.
type keySet struct {
	cfg    Config
	turn   chan struct{} // held by the goroutine that reads
	reads  atomic.Int64
	failed atomic.Int64
	warned redisio.Throttle

	mu     sync.Mutex
	keys   []Key
	read   time.Time // when keys were read; zero: never
	tried  time.Time // when a read last ended; zero: never
	reason error     // why the last read failed
}

func newKeySet(cfg Config) *keySet { return &keySet{cfg: cfg, turn: make(chan struct{}, 1)} }

// find returns the keys that may verify a token. It reads the key set again if it is too
// old, or if there is none and the last read is Limits.Interval ago.
func (s *keySet) find(ctx context.Context, kid, algorithm string) ([]Key, error) {
	found, due := s.known(kid, algorithm)
	if due && len(found) > 0 { // others use the old keys meanwhile
		select {
		case s.turn <- struct{}{}:
		default:
			return found, nil
		}
	} else if due {
		select {
		case s.turn <- struct{}{}:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: waited for another read of the keys: %w", ErrKeys, context.Cause(ctx))
		}
	}
	if due {
		defer func() { <-s.turn }()
		if found, due = s.known(kid, algorithm); due { // not read while this goroutine waited
			s.readAgain(ctx)
			found, _ = s.known(kid, algorithm)
		}
	}
	if len(found) > 0 {
		return found, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reason != nil {
		return nil, fmt.Errorf("%w: %w", ErrKeys, s.reason)
	}
	return nil, fmt.Errorf("%w: no key %q for %s", ErrInvalid, kid, algorithm)
}

// known returns the keys in use that may verify a token, and whether the set should be
// read again now.
func (s *keySet) known(kid, algorithm string) (found []Key, due bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range slices.Concat(s.cfg.Keys, s.keys) {
		if k.verifies(kid, algorithm) {
			found = append(found, k)
		}
	}
	l := &s.cfg.Limits
	old := len(found) == 0 || s.read.IsZero() || time.Since(s.read) >= l.MaxAge
	waited := s.tried.IsZero() || time.Since(s.tried) >= l.Interval
	return found, old && waited && s.cfg.URL+s.cfg.File != ""
}

// readAgain reads the key set. The caller has the turn; its request may end meanwhile, but
// others wait for the keys.
func (s *keySet) readAgain(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.Limits.Timeout)
	defer cancel()
	s.reads.Add(1)
	source, read := s.cfg.File, s.readFile
	if s.cfg.URL != "" {
		source, read = s.cfg.URL, s.readURL
	}
	var keys []Key
	data, err := read(ctx)
	if err == nil {
		keys, err = parseSet(data, s.cfg.Limits.SetKeys, s.cfg.File != "")
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", source, err)
		s.failed.Add(1)
		s.warned.Warn(s.cfg.Log, "jwt: key set not read; the keys of the last read stay in use", "error", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tried, s.reason = time.Now(), err
	if err == nil {
		s.keys, s.read = keys, s.tried
	}
}

func (s *keySet) readURL(ctx context.Context) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.cfg.URL, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	resp, err := s.cfg.Client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the server answers %s", resp.Status)
	}
	return s.readLimited(resp.Body)
}

func (s *keySet) readFile(context.Context) ([]byte, error) {
	info, err := os.Stat(s.cfg.File)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() { // opening a pipe would block
		return nil, fmt.Errorf("not a regular file but %v", info.Mode())
	}
	f, err := os.Open(s.cfg.File)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return s.readLimited(f)
}

func (s *keySet) readLimited(r io.Reader) ([]byte, error) {
	limit := s.cfg.Limits.SetBytes
	data, err := io.ReadAll(io.LimitReader(r, int64(limit)+1))
	if err == nil && len(data) > limit {
		err = fmt.Errorf("longer than Limits.SetBytes, %d", limit)
	}
	return data, err
}
