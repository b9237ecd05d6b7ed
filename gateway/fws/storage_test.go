package fws_test

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/gateway"
	"github.com/heliograph/heliograph/gateway/fws"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

func TestStorage(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		s, err := fws.NewStorage(pool, "my_app")
		require.NoError(t, err)
		ctx := t.Context()
		values, err := s.Get(ctx, "a")
		require.NoError(t, err)
		require.Empty(t, values)
		for _, value := range []string{"2", "1", "2"} {
			require.NoError(t, s.Add(ctx, "a *", value))
		}
		require.NoError(t, s.Remove(ctx, "a *", "3"), "it isn't there")
		values, err = s.Get(ctx, "a *")
		require.NoError(t, err)
		require.Equal(t, []string{"1", "2"}, values)
		name, err := pool.Key("my_app", "a")
		require.NoError(t, err)
		n, err := pool.Redis().Exists(ctx, name+" *").Result()
		require.NoError(t, err)
		require.EqualValues(t, 1, n)

		require.NoError(t, pool.Redis().Set(ctx, name, "x", 0).Err())
		require.ErrorContains(t, s.Add(ctx, "a", "1"), "fws: storage: WRONGTYPE")
	})
	_, err := fws.NewStorage(nil, "a")
	require.EqualError(t, err, "fws: NewStorage: nil pool")
	_, err = fws.NewStorage(storagetest.New(t), "a*")
	require.ErrorContains(t, err, "fws: NewStorage: prefix: ")
}

func TestStorageIsReachableFromAHook(t *testing.T) {
	t.Parallel()
	pool := storagetest.New(t)
	s, err := fws.NewStorage(pool, "fws")
	require.NoError(t, err)
	_, url := serve(t, pool, gateway.Config{
		Protocols: []gateway.Protocol{gateway.Plain},
		Hooks: []gateway.Hooks{s.Hooks(), {Message: func(ctx context.Context, c *gateway.Conn, data []byte) ([]byte, error) {
			if err := fws.StorageOf(c).Add(ctx, "said", string(data)); err != nil {
				return nil, err
			}
			values, err := fws.StorageOf(c).Get(ctx, "said")
			c.Send([]byte(strings.Join(values, " ")))
			return data, err
		}}},
	})
	b := dial(t, url)
	b.send("hello")
	require.Equal(t, "hello", b.raw())
	b.send("again")
	require.Equal(t, "again hello", b.raw())
}
