package gateway_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/gateway"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// rooms has rooms, and who joins and leaves them.
var rooms = gateway.Config{
	Channels:     []gateway.Channel{{Pattern: "room.*", Presence: true}, {Pattern: "joins:*", Joins: "joins:"}, {Pattern: "quiet"}},
	Authenticate: named,
}

// presenceEvent is the content of a message of a channel with Joins.
type presenceEvent struct{ Event, Channel, Client, Principal string }

func (b *browser) event(of string) (e presenceEvent) {
	b.t.Helper()
	require.NoError(b.t, json.Unmarshal([]byte(b.from("joins:"+of)), &e))
	require.NotEmpty(b.t, e.Client)
	return e
}

// Clients are told who joins and leaves a room, in all processes.
func TestJoins(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		cfg := rooms
		cfg.Refresh = func(_ context.Context, _ *gateway.Conn, credentials string) (gateway.Principal, error) {
			return gateway.Principal{Name: credentials}, nil
		}
		_, one := serve(t, pool, cfg)
		_, two := serve(t, storagetest.Open(t, pool.Config()), cfg)
		first := signIn(t, one, "first")
		require.Empty(t, first.does("SUB room.1"))
		ada := signIn(t, one, "ada")
		require.Empty(t, ada.does("SUB joins:room.1"))
		require.Empty(t, ada.does("SUB joins:room.2"), "several at once")

		bob := signIn(t, two, "bob")
		require.Empty(t, bob.does("SUB room.1"))
		joined := ada.event("room.1")
		require.Equal(t, presenceEvent{"joined", "room.1", joined.Client, "bob"}, joined)
		require.Empty(t, bob.does("SUB room.2"))
		require.Equal(t, presenceEvent{"joined", "room.2", joined.Client, "bob"}, ada.event("room.2"))
		nobody := signIn(t, one, "")
		require.Empty(t, nobody.does("SUB room.1"))
		last := ada.event("room.1")
		require.Equal(t, presenceEvent{"joined", "room.1", last.Client, ""}, last)

		ada.send("WHO room.1 list=1")
		var who struct {
			Clients int
			Members map[string]string
		}
		require.NoError(t, json.Unmarshal([]byte(ada.from("room.1")), &who))
		require.Equal(t, 3, who.Clients)
		require.Equal(t, "bob", who.Members[joined.Client])
		require.Contains(t, who.Members, last.Client)

		require.Empty(t, bob.does("DEL room.1"))
		require.Equal(t, presenceEvent{"left", "room.1", joined.Client, "bob"}, ada.event("room.1"))
		bob.send("AUTH robert")
		bob.from("websocket")
		require.Equal(t, presenceEvent{"left", "room.2", joined.Client, "bob"}, ada.event("room.2"))
		require.Equal(t, presenceEvent{"joined", "room.2", joined.Client, "robert"}, ada.event("room.2"))
		require.NoError(t, bob.conn.CloseNow())
		require.Equal(t, presenceEvent{"left", "room.2", joined.Client, "robert"}, ada.event("room.2"))
		require.NoError(t, first.conn.CloseNow())
		left := ada.event("room.1")
		require.Equal(t, presenceEvent{"left", "room.1", left.Client, "first"}, left, "who was there before as well")
	})
}

// Nobody is told of rooms that they may not follow the joins of.
func TestJoinsMustBeAllowed(t *testing.T) {
	t.Parallel()
	cfg := rooms
	cfg.Allow = func(_ context.Context, c *gateway.Conn, _ gateway.Op, name string) bool {
		return c.Principal().Name == "ada" || name != "joins:room.1"
	}
	pool := storagetest.New(t)
	_, url := serve(t, pool, cfg)
	bob := signIn(t, url, "bob")
	require.Equal(t, gateway.CodeForbidden, bob.does("SUB joins:room.1"))
	for _, name := range []string{"joins:quiet", "joins:", "joins:joins:room.1", "joins:staff"} {
		require.Equal(t, gateway.CodeForbidden, bob.does("SUB "+name), name)
	}
	require.Empty(t, bob.does("SUB joins:room.2"))
	for _, ch := range []gateway.Channel{{Pattern: "room.*", Joins: "joins:"}, {Pattern: "j*", Joins: "j*"}, {Pattern: "j*", Joins: "j", Presence: true}, {Pattern: "j*", Joins: "j", History: &kept}} {
		_, err := gateway.New(pool, gateway.Config{Channels: []gateway.Channel{ch}})
		require.ErrorContains(t, err, "Channel.Joins")
	}
	_, err := gateway.New(pool, gateway.Config{Channels: rooms.Channels, Source: &tap{}})
	require.ErrorContains(t, err, "Joins")
}

// The list of those present is bounded as a hash is.
func TestAListOfTooMany(t *testing.T) {
	t.Parallel()
	cfg := rooms
	cfg.Limits.Fields = 1
	_, url := serve(t, storagetest.New(t), cfg)
	one, two := signIn(t, url, ""), signIn(t, url, "")
	require.Empty(t, one.does("SUB room.1"))
	require.Empty(t, one.does("WHO room.1 list=1"))
	require.Empty(t, two.does("SUB room.1"))
	require.Equal(t, gateway.CodeTooLarge, two.does("WHO room.1 list=1"))
	require.Equal(t, 2, two.who("room.1").Clients)
}

// Joins and leaves of which no message came are found in Redis: after a gap, and of a process that
// has died.
func TestJoinsAreReadFromRedis(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		h, _ := serve(t, pool, rooms)
		type entry struct {
			Conn string `json:"conn"`
			Name string `json:"name"`
		}
		other, err := storage.NewPresence[entry](pool, "gateway:presence:room.1", storage.PresenceOptions{
			Codec: storage.JSON, Owner: "OTHER:1", Lease: 100 * time.Millisecond,
		})
		require.NoError(t, err)
		add := func(e ...entry) {
			_, err := other.Add(t.Context(), e...)
			require.NoError(t, err)
		}
		add(entry{"1", "ada"})
		events := make(chan presenceEvent, 10)
		compare, err := h.Joins(t.Context(), "joins:room.1", func(data []byte) {
			var e presenceEvent
			require.NoError(t, json.Unmarshal(data, &e))
			events <- e
		})
		require.NoError(t, err)
		require.Empty(t, events, "those who were there")
		add(entry{"2", "bob"})
		require.NoError(t, compare())
		require.Equal(t, presenceEvent{"joined", "room.1", "OTHER.2", "bob"}, <-events)
		require.NoError(t, compare())
		require.Empty(t, events)
		require.NoError(t, other.Close())
		require.NoError(t, compare())
		require.Equal(t, "left", (<-events).Event)
		require.Equal(t, "left", (<-events).Event)
	})
}
