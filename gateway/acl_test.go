package gateway_test

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/gateway"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// The table of rights in README.md: each row is enough for what it says, and without it
// that is refused.
func TestWhatRedisMustAllow(t *testing.T) {
	t.Parallel()
	srv := storagetest.Start(t)
	admin := storagetest.Open(t, srv.Config())
	require.NoError(t, admin.Redis().HSet(t.Context(), "hash", "f", "1").Err())
	cfg := srv.Config()
	cfg.Redis.Username, cfg.Redis.Password = "gateway", "s3cr3t"
	user := []any{"acl", "setuser", "gateway", "on", ">s3cr3t", "~*", "&*", "-@all"}
	require.NoError(t, admin.Redis().Do(t.Context(), user...).Err())
	pool := storagetest.Open(t, cfg)
	_, address := serve(t, pool, gateway.Config{
		Channels: []gateway.Channel{{Pattern: "log", History: &kept}, {Pattern: "*"}}, Keys: []string{"*"}, ClientPublish: true,
	})
	b := open(t, address)
	for _, row := range []struct {
		rights   []any
		commands []string
	}{
		{[]any{"+eval", "+evalsha", "+type", "+hlen", "+hkeys", "+hstrlen", "+hvals", "+hget"}, []string{"GET hash", "GET hash f"}},
		{[]any{"+subscribe", "+unsubscribe", "+ping"}, []string{"SUB a"}},
		{[]any{"+publish"}, []string{"SUB hash snapshot=1", "PUB a 1"}},
		{[]any{"+multi", "+exec", "+hmget", "+xrange"}, []string{"SUB log", "SUB log since=x:1-1"}},
	} {
		require.NotEmpty(t, b.does(row.commands[0]), row.commands[0])
		require.NoError(t, admin.Redis().Do(t.Context(), append([]any{"acl", "setuser", "gateway"}, row.rights...)...).Err())
		for _, command := range row.commands {
			require.Empty(t, b.does(command), command)
		}
	}
}

// What README.md says of Config.Remote and of a Remote is enough.
func TestWhatRedisMustAllowForRemotes(t *testing.T) {
	t.Parallel()
	srv := storagetest.Start(t)
	admin := storagetest.Open(t, srv.Config())
	open := func(user string, rights ...any) *storage.Pool {
		command := append([]any{"acl", "setuser", user, "on", ">s3cr3t", "resetchannels", "&obs:gateway:*", "~obs:gateway:remote:web", "-@all"}, rights...)
		require.NoError(t, admin.Redis().Do(t.Context(), command...).Err())
		cfg := srv.Config()
		cfg.Prefix, cfg.Redis.Username, cfg.Redis.Password = "obs", user, "s3cr3t"
		return storagetest.Open(t, cfg)
	}
	words := func(of string) (rights []any) {
		page, err := os.ReadFile("README.md")
		require.NoError(t, err)
		_, line, ok := strings.Cut(string(page), "\n| "+of+" | `")
		require.True(t, ok)
		line, _, _ = strings.Cut(line, "`")
		for word := range strings.FieldsSeq(line) {
			rights = append(rights, "+"+word)
		}
		return rights
	}
	cfg := gateway.Config{Authenticate: named, Remote: "web"}
	_, url := serve(t, open("handler", words("`Config.Remote`")...), cfg)
	ada := signIn(t, url, "ada")
	r := remote(t, open("remote", words("a `Remote`")...), "web", 1)
	_, err := r.Unsubscribe(t.Context(), "ada", "news")
	require.NoError(t, err)
	reached, err := r.Disconnect(t.Context(), "ada")
	require.NoError(t, err)
	require.Equal(t, gateway.Reached{Handlers: 1, Connections: 1}, reached)
	require.Equal(t, gateway.CloseDisconnected, ada.closed())
}

// The ACL line of README.md allows every command.
func TestACLOfTheREADME(t *testing.T) {
	t.Parallel()
	srv := storagetest.Start(t)
	admin := storagetest.Open(t, srv.Config())
	page, err := os.ReadFile("README.md")
	require.NoError(t, err)
	_, line, ok := strings.Cut(string(page), "    ACL SETUSER gateway ")
	require.True(t, ok)
	line, _, _ = strings.Cut(line, "\n")
	command := []any{"acl", "setuser", "gateway"}
	for word := range strings.FieldsSeq(line) {
		command = append(command, word)
	}
	require.NoError(t, admin.Redis().Do(t.Context(), command...).Err())
	require.NoError(t, admin.Redis().HSet(t.Context(), "obs:hash", "f", "1").Err())

	cfg := srv.Config()
	cfg.Prefix, cfg.Redis.Username, cfg.Redis.Password = "obs", "gateway", "secret"
	pool := storagetest.Open(t, cfg)
	_, address := serve(t, pool, gateway.Config{
		Remote:   "web",
		Channels: []gateway.Channel{{Pattern: "log", History: &kept}, {Pattern: "room", Presence: true}, {Pattern: "joins:*", Joins: "joins:"}, {Pattern: "*"}},
		Keys:     []string{"*"}, ClientPublish: true,
	})
	b := open(t, address)
	for _, command := range []string{
		"GET hash", "GET hash f", "SUB a", "SUB hash snapshot=1", "DEL hash", "PUB a 1", "SUB log", "DEL log", "PUB log 1",
		"SUB log since=x:1-1", "SUB joins:room", "SUB room", "WHO room", "DEL room", "WHO room",
	} {
		require.Empty(t, b.does(command), command)
	}
	_, err = remote(t, pool, "web", 1).Disconnect(t.Context(), "ada")
	require.NoError(t, err)
}
