package gateway_test

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/gateway"
	"github.com/heliograph/heliograph/pubsub"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// The log of a channel that was followed before anything was published has all messages:
// a client that resumes gets those after its offset, and no other.
func TestResumingInALogThatBeganBeforeItsHistory(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		_, url := serve(t, pool, gateway.Config{Channels: []gateway.Channel{{Pattern: "log", History: &kept}}})
		ps, err := pubsub.NewClient(pool, pubsub.Config{})
		require.NoError(t, err)
		topic := pubsub.NewTopic[int]("log").WithCodec(storage.JSON).WithHistory(kept)
		stays := open(t, url)
		stays.send("SUB log")
		offsets := []string{stays.news().Offset} // of a history without messages
		for i := 1; i <= 3; i++ {
			_, err := pubsub.Publish(t.Context(), ps, topic, i)
			require.NoError(t, err)
			offsets = append(offsets, stays.next().Offset)
		}
		for i, since := range offsets {
			b := open(t, url)
			b.send("SUB log since=" + since)
			s := b.news()
			require.True(t, *s.Recovered, since)
			require.Equal(t, since, s.Offset)
			for n := i + 1; n <= 3; n++ {
				require.Equal(t, strconv.Itoa(n), b.from("log"), since)
			}
			b.send("PING")
			require.Equal(t, `"PONG"`, b.from("websocket"))
		}
		b := open(t, url)
		b.send("SUB log since=OTHERHISTO:1-1")
		require.False(t, *b.news().Recovered)
	})
}
