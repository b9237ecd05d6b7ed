package gateway_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/gateway"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// The commands of doc.go are enough, each line of them for what it says, and without
// them that is refused.
func TestWhatRedisMustAllow(t *testing.T) {
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
