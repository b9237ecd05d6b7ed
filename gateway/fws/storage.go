package fws

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/heliograph/heliograph/gateway"
	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/storage"
)

// Storage is the storage object of filtered_websocket: sets of strings in Redis that the
// hooks of all processes share. A change is atomic.
type Storage struct {
	pool   *storage.Pool
	prefix string
}

// NewStorage returns a storage whose keys begin with a prefix, behind that of the pool. It
// does not contact Redis.
func NewStorage(pool *storage.Pool, prefix string) (*Storage, error) {
	if pool == nil {
		return nil, errors.New("fws: NewStorage: nil pool")
	}
	if err := redisio.CheckName(prefix); err != nil {
		return nil, fmt.Errorf("fws: NewStorage: prefix: %w", err)
	}
	return &Storage{pool, prefix}, nil
}

type storageKey struct{}

// Hooks returns the hooks by which [StorageOf] finds the storage, for
// [gateway.Config].Hooks before the hooks that use it.
func (s *Storage) Hooks() gateway.Hooks {
	return gateway.Hooks{Connect: func(_ context.Context, c *gateway.Conn, _ *http.Request) error {
		c.SetValue(storageKey{}, s)
		return nil
	}}
}

// StorageOf returns the storage of a connection, or nil without [Storage.Hooks].
func StorageOf(c *gateway.Conn) *Storage {
	s, _ := c.Value(storageKey{}).(*Storage)
	return s
}

// Get returns the values under a key, sorted. There is none under an unknown key.
func (s *Storage) Get(ctx context.Context, key string) ([]string, error) {
	values, err := s.pool.Redis().SMembers(ctx, s.key(key)).Result()
	slices.Sort(values)
	return values, explain(ctx, err)
}

// Add adds a value under a key.
func (s *Storage) Add(ctx context.Context, key, value string) error {
	return explain(ctx, s.pool.Redis().SAdd(ctx, s.key(key), value).Err())
}

// Remove removes a value under a key, if it is there.
func (s *Storage) Remove(ctx context.Context, key, value string) error {
	return explain(ctx, s.pool.Redis().SRem(ctx, s.key(key), value).Err())
}

// key returns the key in Redis. A key may have any characters.
func (s *Storage) key(key string) string {
	key = s.prefix + ":" + key
	if prefix := s.pool.Config().Prefix; prefix != "" {
		return prefix + ":" + key
	}
	return key
}

func explain(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("fws: storage: %w", redisio.Normalize(ctx, err))
}
