package keywords_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/keywords"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// A dispatcher that slept longer than its lease does not write again what was
// cleared meanwhile.
func TestClearIsNotUndoneByADispatcherThatSlept(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		ctx, rdb := t.Context(), pool.Redis()
		base, err := pool.Key("kw", redisio.HashTag("stage"))
		require.NoError(t, err)
		d := run(t, pool, keywords.DispatcherConfig{Lease: time.Minute}, nil).wait()
		k := client(t, pool)
		require.NoError(t, rdb.Del(ctx, base+":own:main").Err()) // its lease ends
		require.NoError(t, k.Clear(ctx, "stage"))
		require.ErrorIs(t, keywords.Set(ctx, d.Dispatcher, Count, 7), keywords.CodeFenced)
		require.ErrorIs(t, <-d.ended, keywords.CodeFenced)
		left, err := rdb.Keys(ctx, base+":*").Result()
		require.NoError(t, err)
		require.Equal(t, []string{base + ":fence"}, left)
		require.Positive(t, rdb.TTL(ctx, base+":fence").Val(), "in the end that goes too")

		run(t, pool, keywords.DispatcherConfig{}, nil).wait()
		require.Negative(t, rdb.TTL(ctx, base+":fence").Val(), "it is needed again")
	})
}
