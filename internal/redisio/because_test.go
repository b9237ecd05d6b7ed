package redisio_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

func TestBecauseNamesTheReasonOfAWait(t *testing.T) {
	refused := errors.New("connection refused")
	err := fmt.Errorf("bus: call add: %w", redisio.Because(context.DeadlineExceeded, refused))
	require.EqualError(t, err, "bus: call add: context deadline exceeded (connection refused)")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NotErrorIs(t, err, refused)
	require.Equal(t, refused, redisio.Reason(err))
	require.NoError(t, redisio.Reason(context.DeadlineExceeded))

	require.Equal(t, context.Canceled, redisio.Because(context.Canceled, nil))
	require.NoError(t, redisio.Because(nil, refused))
}

// unreachable is a pool on a port that refuses connections.
func unreachable(t *testing.T) *storage.Pool {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	return storagetest.Open(t, storage.Config{Redis: redis.UniversalOptions{Addrs: []string{l.Addr().String()}}})
}

func TestAWriteThatIsNotWantedAnyMoreSaysWhyItWaited(t *testing.T) {
	t.Parallel()
	w := redisio.Of(unreachable(t)).Writer()
	require.NoError(t, w.Trouble())
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	ended := make(outcomes, 1)
	w.Push(ctx, "list", []byte("x"), ended.done)
	o := <-ended
	require.ErrorIs(t, o.err, context.DeadlineExceeded)
	require.ErrorContains(t, o.err, "refused")
	require.ErrorContains(t, w.Trouble(), "refused")
}

func TestTroubleEndsWithAWriteThatSucceeds(t *testing.T) {
	t.Parallel()
	srv := storagetest.Start(t)
	w := redisio.Of(storagetest.Open(t, srv.Config())).Writer()
	ended := make(outcomes, 1)
	srv.Kill()
	w.Push(t.Context(), "list", []byte("x"), ended.done)
	require.Eventually(t, func() bool { return w.Trouble() != nil }, 10*time.Second, time.Millisecond)
	srv.Restart()
	require.NoError(t, (<-ended).err)
	require.NoError(t, w.Trouble())
}
