package keywords_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/keywords"
	"github.com/heliograph/heliograph/storage/storagetest"
)

func TestKeywordsOnACluster(t *testing.T) {
	t.Parallel()
	cluster := storagetest.StartCluster(t)
	pool := storagetest.Open(t, cluster.Config())
	k := client(t, storagetest.Open(t, cluster.Config()))
	ctx := t.Context()
	var wg sync.WaitGroup
	for i := range 6 { // services in all slots
		name := fmt.Sprint("stage", i)
		speed := keywords.Define(name, "SPEED", keywords.Spec[float64]{Initial: new(0.0)})
		d, err := keywords.NewDispatcher(pool, keywords.DispatcherConfig{Service: name, ExternalWrites: keywords.ExternalAccept})
		require.NoError(t, err)
		keywords.Serve(d, speed, keywords.Hooks[float64]{})
		go func() { _ = d.Run(ctx) }()
		<-d.Ready()
		require.NoError(t, d.Notifications())
		wg.Go(func() {
			waited := make(chan error, 1)
			go func() { waited <- keywords.WaitForExpr(ctx, k, "$"+name+".SPEED == 49") }()
			for j := range 50 {
				if _, err := keywords.Modify(ctx, k, speed, float64(j)); err != nil {
					t.Error(err)
				}
			}
			if err := <-waited; err != nil {
				t.Error(err)
			}
			if err := pool.Redis().HSet(ctx, "kw:{"+name+"}:v:SPEED", "v", "99").Err(); err != nil {
				t.Error(err)
			}
			if err := keywords.WaitForExpr(ctx, k, "$"+name+".SPEED == 99"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	services, err := k.Services(ctx)
	require.NoError(t, err)
	require.Len(t, services, 6)
}

// Two pools with a prefix of their own do not see each other.
func TestPrefixesKeepServicesApart(t *testing.T) {
	t.Parallel()
	srv := storagetest.Start(t)
	ctx := t.Context()
	for i, prefix := range []string{"north", "south"} {
		cfg := srv.Config()
		cfg.Prefix = prefix
		pool := storagetest.Open(t, cfg)
		run(t, pool, keywords.DispatcherConfig{ExternalWrites: keywords.ExternalAccept}, nil).wait()
		k := client(t, pool)
		require.NoError(t, keywords.WaitForExpr(ctx, k, "$stage.SPEED == 1"))
		waited := make(chan error, 1)
		go func() { waited <- keywords.WaitForExpr(ctx, k, fmt.Sprint("$stage.SPEED == ", 5+i)) }()
		_, err := keywords.Modify(ctx, k, Speed, float64(5+i))
		require.NoError(t, err)
		require.NoError(t, <-waited)
		require.NoError(t, pool.Redis().HSet(ctx, prefix+":kw:{stage}:v:SPEED", "v", "11").Err())
		require.NoError(t, keywords.WaitForExpr(ctx, k, "$stage.SPEED == 11"))
		keys, err := pool.Redis().Keys(ctx, "*").Result()
		require.NoError(t, err)
		for _, key := range keys {
			require.True(t, strings.HasPrefix(key, "north:") || strings.HasPrefix(key, "south:"), key)
		}
	}
}
