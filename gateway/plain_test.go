package gateway_test

import (
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/gateway"
	"github.com/heliograph/heliograph/storage/storagetest"
)

func TestPlainClientsGetWhatWasPublished(t *testing.T) {
	pool := storagetest.New(t)
	_, url := serve(t, pool, gateway.Config{
		Protocols: []gateway.Protocol{gateway.Plain}, Hooks: []gateway.Hooks{gateway.BroadcastPublications("global")},
	})
	b := dial(t, url)
	var heard atomic.Bool
	quiet := make(chan struct{})
	go func() { // until the client follows, which it is not told
		for !heard.Load() {
			_ = pool.Redis().Publish(t.Context(), "global", "first")
		}
		close(quiet)
	}()
	require.Equal(t, "first", b.raw())
	heard.Store(true)
	<-quiet
	require.NoError(t, pool.Redis().Publish(t.Context(), "global", "last").Err())
	for b.raw() != "last" {
	}
	for _, published := range []string{"hello", `"hello"`, `{"a": 1}`, "a \"word\"", "\xff"} {
		require.NoError(t, pool.Redis().Publish(t.Context(), "global", published).Err())
		require.Equal(t, published, b.raw())
	}
}
