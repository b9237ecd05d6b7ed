package gateway_test

import (
	"context"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/gateway"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

func accessControl(t *testing.T) {
	a := []gateway.Channel{{Pattern: "a*"}}
	yes := func(context.Context, *gateway.Conn, gateway.Op, string) bool { return true }
	no := func(context.Context, *gateway.Conn, gateway.Op, string) bool { return false }
	gets := func(_ context.Context, _ *gateway.Conn, op gateway.Op, _ string) bool { return op == gateway.OpGet }
	const forbidden, none = gateway.CodeForbidden, gateway.CodeBadCommand
	for _, row := range []struct {
		name            string
		cfg             gateway.Config
		sub, get, getB  gateway.Code // of a, and of b
		both, subB, pub gateway.Code
	}{
		{"nothing", gateway.Config{}, forbidden, forbidden, forbidden, forbidden, forbidden, none},
		{"channels", gateway.Config{Channels: a}, "", forbidden, forbidden, forbidden, forbidden, none},
		{"keys", gateway.Config{Keys: []string{"a*"}}, forbidden, "", forbidden, forbidden, forbidden, none},
		{"both", gateway.Config{Channels: a, Keys: []string{"a*"}}, "", "", forbidden, "", forbidden, none},
		{"allow", gateway.Config{Allow: yes}, "", "", "", "", "", none},
		{"allow nothing", gateway.Config{Allow: no}, forbidden, forbidden, forbidden, forbidden, forbidden, none},
		{"allow to get", gateway.Config{Allow: gets}, forbidden, "", "", forbidden, forbidden, none},
		{"channels, allow", gateway.Config{Channels: a, Allow: yes}, "", forbidden, forbidden, forbidden, forbidden, none},
		{"channels, allow nothing", gateway.Config{Channels: a, Allow: no}, forbidden, forbidden, forbidden, forbidden, forbidden, none},
		{"keys, allow", gateway.Config{Keys: []string{"a*"}, Allow: yes}, forbidden, "", forbidden, forbidden, forbidden, none},
		{"both, allow", gateway.Config{Channels: a, Keys: []string{"a*"}, Allow: yes}, "", "", forbidden, "", forbidden, none},
		{"both, allow to get", gateway.Config{Channels: a, Keys: []string{"a*"}, Allow: gets}, forbidden, "", forbidden, forbidden, forbidden, none},
		{"publish", gateway.Config{ClientPublish: true}, forbidden, forbidden, forbidden, forbidden, forbidden, forbidden},
		{"publish, keys", gateway.Config{ClientPublish: true, Keys: []string{"a*"}}, forbidden, "", forbidden, forbidden, forbidden, forbidden},
		{"publish, channels", gateway.Config{ClientPublish: true, Channels: a}, "", forbidden, forbidden, forbidden, forbidden, ""},
		{"publish, allow to get", gateway.Config{ClientPublish: true, Channels: a, Allow: gets}, forbidden, forbidden, forbidden, forbidden, forbidden, forbidden},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, address := serve(t, storagetest.New(t), row.cfg)
			b := open(t, address)
			require.Equal(t, row.sub, b.does("SUB a"))
			require.Equal(t, row.get, b.does("GET a"))
			require.Equal(t, row.get, b.does("GET a field"))
			require.Equal(t, row.getB, b.does("GET b"))
			require.Equal(t, row.both, b.does("SUB a snapshot=1"))
			require.Equal(t, row.subB, b.does("SUB b"))
			require.Equal(t, row.pub, b.does("PUB a 1"))
			require.Equal(t, none, b.does("WHO a"), "nothing keeps it")
			require.Equal(t, none, b.does("AUTH x"), "there is no Refresh")
		})
	}
}

// A star doesn't reach the keys and channels of this module: a pattern must name them.
func ownNames(t *testing.T) {
	const forbidden = gateway.CodeForbidden
	star := []gateway.Channel{{Pattern: "*"}}
	yes := func(context.Context, *gateway.Conn, gateway.Op, string) bool { return true }
	for _, row := range []struct {
		name      string
		cfg       gateway.Config
		get, subs gateway.Code
	}{
		{"star", gateway.Config{Channels: star, Keys: []string{"*"}}, forbidden, forbidden},
		{"star, allow", gateway.Config{Channels: star, Keys: []string{"*"}, Allow: yes}, forbidden, forbidden},
		{"allow", gateway.Config{Allow: yes}, forbidden, forbidden},
		{"part of the name", gateway.Config{Channels: []gateway.Channel{{Pattern: "k*"}}, Keys: []string{"?w:*"}}, forbidden, forbidden},
		{"by name", gateway.Config{Channels: []gateway.Channel{{Pattern: "kw:stage:*"}}, Keys: []string{"kw:{stage}:v:*"}}, "", ""},
		{"star and name", gateway.Config{Channels: append(star, gateway.Channel{Pattern: "kw:*"}), Keys: []string{"*", "kw:*"}}, "", ""},
		{"name, allow", gateway.Config{Channels: []gateway.Channel{{Pattern: "kw:*"}}, Keys: []string{"kw:*"}, Allow: yes}, "", ""},
		{"prefix of its own", gateway.Config{Channels: star, Keys: []string{"*"}, KeyPrefix: "web:", ChannelPrefix: "web:"}, "", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			row.cfg.ClientPublish = true
			_, address := serve(t, storagetest.New(t), row.cfg)
			b := open(t, address)
			require.Equal(t, row.get, b.does("GET kw:{stage}:v:TEMP"))
			require.Equal(t, row.subs, b.does("SUB kw:stage:0:changes"))
			require.Equal(t, row.subs, b.does("PUB kw:stage:0:changes 1"))
		})
	}
	_, address := serve(t, storagetest.New(t), gateway.Config{Channels: star, Keys: []string{"*"}, KeyPrefix: "k", ChannelPrefix: "k"})
	b := open(t, address)
	require.Equal(t, forbidden, b.does("GET w:{stage}:v:TEMP"), "the prefix makes it one")
	require.Equal(t, forbidden, b.does("SUB w:stage:0:changes"))
	for _, name := range []string{"bus:a", "pubsub:a", "gateway:a", "fws:a", "jobs:a"} {
		_, address := serve(t, storagetest.New(t), anything)
		require.Equal(t, forbidden, open(t, address).does("GET "+name), name)
	}
}

// Allow is asked each time, with the names unchanged.
func collisions(t *testing.T) {
	var mu sync.Mutex
	var asked []string
	cfg := gateway.Config{KeyPrefix: "k:", ChannelPrefix: "c:", Allow: func(_ context.Context, c *gateway.Conn, op gateway.Op, name string) bool {
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, string(op)+" "+name)
		return name == "a_b"
	}}
	pool := storagetest.New(t)
	secret, err := pool.Key("secret")
	require.NoError(t, err)
	require.NoError(t, pool.Redis().HSet(t.Context(), secret, "f", `"secret"`).Err())
	_, address := serve(t, pool, cfg)
	b := open(t, address)
	require.Empty(t, b.does("GET a_b"))
	require.Equal(t, gateway.CodeForbidden, b.does("GET a b"))
	require.Equal(t, gateway.CodeForbidden, b.does("GET a:b"))
	require.Empty(t, b.does("GET a_b"))
	require.Empty(t, b.does("SUB a_b"))
	require.Equal(t, gateway.CodeForbidden, b.does(`GET "a_b "`))
	require.Equal(t, gateway.CodeForbidden, b.does(`GET ../secret`))
	require.Equal(t, gateway.CodeForbidden, b.does(`GET secret`))
	require.Equal(t, []string{"get a_b", "get a", "get a:b", "get a_b", "subscribe a_b", "get a_b ", "get ../secret", "get secret"}, asked)
}

func patterns(t *testing.T) {
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		_, address := serve(t, pool, anything)
		b := open(t, address)
		key, err := pool.Key("trains")
		require.NoError(t, err)
		require.NoError(t, pool.Redis().HSet(t.Context(), key, "1", "1").Err())
		for _, name := range []string{"*", "t*", "train?", "[t]rains", "trains*"} {
			require.Equal(t, gateway.CodeBadName, b.does("SUB "+name), name)
			b.send("GET " + name)
			require.Equal(t, "null", b.from(name), "a key of that name, which there is not")
		}
		n, err := pool.Redis().PubSubNumPat(t.Context()).Result()
		require.NoError(t, err)
		require.Zero(t, n)
		require.NoError(t, pool.Redis().Publish(t.Context(), key, `1`).Err())
		b.send("PING")
		require.Equal(t, `"PONG"`, b.from("websocket"), "and nothing before")
	})
}

func keyspace(t *testing.T) {
	cfg := anything
	cfg.ClientPublish = true
	_, address := serve(t, storagetest.New(t), cfg)
	b := open(t, address)
	for _, name := range []string{"__keyspace@0__:trains", "__keyevent@0__:hset", "__redis__:invalidate", "__"} {
		for _, command := range []string{"SUB ", "GET ", "DEL "} {
			require.Equal(t, gateway.CodeBadName, b.does(command+name))
		}
		require.Equal(t, gateway.CodeBadName, b.does(`PUB `+name+` 1`))
	}
}

func keyTypes(t *testing.T) {
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		h, address := serve(t, pool, anything)
		ctx, c := t.Context(), pool.Redis()
		key := func(name string) string { k, _ := pool.Key(name); return k }
		require.NoError(t, c.Set(ctx, key("string"), "x", 0).Err())
		require.NoError(t, c.RPush(ctx, key("list"), "x").Err())
		require.NoError(t, c.SAdd(ctx, key("set"), "x").Err())
		require.NoError(t, c.Do(ctx, "ZADD", key("zset"), 1, "x").Err())
		require.NoError(t, c.Do(ctx, "XADD", key("stream"), "*", "f", "x").Err())
		b := open(t, address)
		for _, name := range []string{"string", "list", "set", "zset", "stream"} {
			require.Equal(t, gateway.CodeNotAHash, b.does("GET "+name), name)
			require.Equal(t, gateway.CodeNotAHash, b.does("GET "+name+" x"), name)
			require.Equal(t, gateway.CodeNotAHash, b.does("SUB "+name+" snapshot=1"), name)
			require.Empty(t, b.does("SUB "+name), "a channel may have any name")
		}
		require.Equal(t, 1, h.Stats().Connections)
	})
}
