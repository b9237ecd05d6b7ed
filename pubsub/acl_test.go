package pubsub_test

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/pubsub"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// The ACL line of README.md allows topics, patterns that are listed, and histories.
func TestACLOfAClient(t *testing.T) {
	t.Parallel()
	srv := storagetest.Start(t)
	admin := storagetest.Open(t, srv.Config())
	page, err := os.ReadFile("README.md")
	require.NoError(t, err)
	_, line, found := strings.Cut(string(page), "    ACL SETUSER ")
	require.True(t, found)
	line, _, _ = strings.Cut(line, "\n")
	words := []any{"acl", "setuser"}
	for _, word := range strings.Fields(line + " &obs:sensor.*") {
		words = append(words, word)
	}
	require.NoError(t, admin.Redis().Do(t.Context(), words...).Err())

	ctx := t.Context()
	as := func(prefix string) *pubsub.Client {
		cfg := srv.Config()
		cfg.Prefix, cfg.Redis.Username, cfg.Redis.Password = prefix, "app", "secret"
		c, err := pubsub.NewClient(storagetest.Open(t, cfg), pubsub.Config{})
		require.NoError(t, err)
		return c
	}
	c := as("obs")
	require.NoError(t, c.Pool().Health(ctx))
	plain := pubsub.NewTopic[string]("plain").WithCodec(storage.JSON)
	kept := pubsub.NewTopic[string]("kept").WithHistory(pubsub.History{})
	for _, topic := range []pubsub.Topic[string]{plain, plain.Sharded(), kept, kept.Sharded()} {
		sub, err := pubsub.Subscribe(ctx, c, topic)
		require.NoError(t, err)
		n, err := pubsub.Publish(ctx, c, topic, "v")
		require.NoError(t, err)
		require.Equal(t, 1, n)
		m := <-sub.C()
		require.NoError(t, m.Err)
		require.Equal(t, "v", m.Value)
		require.NoError(t, sub.Close())
	}
	replayed, err := pubsub.Subscribe(ctx, c, kept, pubsub.SubscribeOptions{Replay: true})
	require.NoError(t, err)
	m := <-replayed.C()
	require.NoError(t, m.Err)
	missed, _, err := pubsub.Recall(ctx, c, kept, m.Offset)
	require.NoError(t, err)
	require.Len(t, missed, 1)

	listed := pubsub.NewPattern[string]("sensor.*")
	_, err = pubsub.Subscribe(ctx, c, listed)
	require.NoError(t, err)
	_, err = pubsub.Subscribe(ctx, c, pubsub.NewPattern[string]("motor.*"))
	require.ErrorContains(t, err, "NOPERM")
	_, err = pubsub.Publish(ctx, as("other"), plain, "v")
	require.ErrorContains(t, err, "NOPERM")
}
