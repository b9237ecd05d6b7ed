package main

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/pubsub"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

type position struct {
	X int    `json:"x"`
	S string `json:"s"`
}

func TestPubReachesGoPrograms(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		s := on(t, pool)
		ps, err := pubsub.NewClient(pool, pubsub.Config{})
		require.NoError(t, err)
		topic := pubsub.NewTopic[position]("positions")
		sub, err := pubsub.Subscribe(t.Context(), ps, topic)
		require.NoError(t, err)
		require.Equal(t, "1 message, received 1 time", s.ok("pub", "positions", `{"x":1,"s":"a"}`))
		require.Equal(t, position{1, "a"}, (<-sub.C()).Value)

		jsons, err := pubsub.Subscribe(t.Context(), ps, pubsub.NewTopic[position]("json").WithCodec(storage.JSON))
		require.NoError(t, err)
		require.Equal(t, `{"messages":1,"received":1}`, s.ok("pub", "json", `{"x":2}`, "--codec", "json", "-o", "json"))
		require.Equal(t, position{X: 2}, (<-jsons.C()).Value)

		texts, err := pubsub.Subscribe(t.Context(), ps, pubsub.NewTopic[string]("text").WithCodec(storage.Text))
		require.NoError(t, err)
		r := s.helio("1\ntwo words\n", "pub", "text", "--codec", "text")
		require.Equal(t, result{0, "2 messages, received 2 times\n", ""}, r)
		require.Equal(t, "1", (<-texts.C()).Value)
		require.Equal(t, "two words", (<-texts.C()).Value)
	})
}

func TestSubShowsWhatGoProgramsPublish(t *testing.T) {
	t.Parallel()
	pool := storagetest.New(t)
	s := on(t, pool)
	ps, err := pubsub.NewClient(pool, pubsub.Config{})
	require.NoError(t, err)
	one, all := s.start("sub", "a:1"), s.start("sub", "a:*", "b", "-o", "json")
	one.errs.Await(t, "listening to a:1\n")
	all.errs.Await(t, "listening to a:*, b\n")
	for _, v := range []any{position{1, "x"}, 42, "text", nil, []byte("bytes"), []byte{0xff}} {
		_, err := pubsub.Publish(t.Context(), ps, pubsub.NewTopic[any]("a:1"), v)
		require.NoError(t, err)
	}
	for _, text := range []string{"plain", `{"a":1}`, "é\x1b[2J", "", "\xff\xfe"} {
		_, err := pubsub.Publish(t.Context(), ps, pubsub.NewTopic[string]("a:1").WithCodec(storage.Text), text)
		require.NoError(t, err)
	}
	_, err = pubsub.Publish(t.Context(), ps, pubsub.NewTopic[int]("b").WithCodec(storage.JSON), 700)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		return strings.Count(all.out.String(), "\n") == 12 && strings.Count(one.out.String(), "\n") == 11
	}, soon, time.Millisecond)
	require.Equal(t, exitOK, one.end())
	require.Equal(t, "{\"s\":\"x\",\"x\":1}\n42\ntext\nnull\nbytes\n/w==\nplain\n{\"a\":1}\né?[2J\n\n//4=\n", one.out.String())
	require.Equal(t, exitOK, all.end())
	require.Contains(t, all.out.String(), `{"channel":"b","time":"`)
	require.Contains(t, all.out.String(), `{"channel":"a:1","time":"`)
}

// Reading a channel with a history needs --history, and --history needs such a channel.
func TestSubWithTheWrongHistory(t *testing.T) {
	t.Parallel()
	s := on(t, storagetest.New(t))
	for want, c := range map[string][2][]string{
		"channel kept keeps a history: read it with helio sub kept --history N":        {{"sub", "kept"}, {"pub", "kept", "tea", "--history", "10"}},
		"channel many:1 keeps a history: read it with helio sub many:1 --history N":    {{"sub", "many:*"}, {"pub", "many:1", "tea", "--history", "10"}},
		"channel plain keeps no history: its messages are published without --history": {{"sub", "plain", "--history", "10"}, {"pub", "plain", "tea"}},
	} {
		sub := s.start(c[0]...)
		sub.errs.Await(t, "listening to ")
		s.ok(c[1]...)
		require.Equal(t, exitFailed, sub.wait(), want)
		require.Contains(t, sub.errs.String(), "helio: "+want+"\n")
		require.Empty(t, sub.out.String())
	}
}

func TestSubEnds(t *testing.T) {
	t.Parallel()
	s := on(t, storagetest.New(t))
	s.ok("pub", "orders", "--history", "3", "1", "2", "3", "4")
	r := s.helio("", "sub", "orders", "--history", "3", "--replay", "--count", "2", "-o", "json")
	require.Equal(t, 0, r.status)
	_, after, _ := strings.Cut(strings.Split(r.out, "\n")[1], `"offset":"`)
	after, _, _ = strings.Cut(after, `"`)
	r = s.helio("", "sub", "orders", "--history", "3", "--after", after, "--count", "1")
	require.Equal(t, result{0, "4\n", "listening to orders\n"}, r)
	r = s.helio("", "sub", "orders", "--history", "3", "-t", "0.05")
	require.Equal(t, 0, r.status, "it has listened as long as it should")
	r = s.helio("", "sub", "x", "-t", "0.05", "--count", "2")
	require.Equal(t, result{exitLate, "", "listening to x\nhelio: 0 of 2 messages within 50ms\n"}, r)
	for want, args := range map[string][]string{
		"--replay and --after need --history":        {"x", "--replay"},
		"--after goes with one channel":              {"x", "y", "--history", "1", "--after", after},
		"is a pattern, which has no history":         {"x*", "--history", "1"},
		`name "a b": ' ' is not allowed`:             {"a b"},
		`name "{a}": '{' is not allowed`:             {"{a}*"},
		"CHANNEL is missing":                         nil,
		`--history: "0": want 1 or more`:             {"x", "--history", "0"},
		`--codec: "x": want auto or msgpack or json`: {"x", "--codec", "x"},
	} {
		require.Contains(t, s.fails(exitUsage, append([]string{"sub"}, args...)...), want)
	}
	require.Contains(t, s.fails(exitUsage, "pub", "x"), "MESSAGE is missing")
	r = s.helio(strings.Repeat("x", maxArguments+1), "pub", "x")
	require.Equal(t, result{exitUsage, "", "helio: stdin: bufio.Scanner: token too long, after 0 messages\n"}, r)
}

func TestObjectsAreThoseOfGoPrograms(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		s, ctx := on(t, pool), t.Context()
		numbers, err := storage.NewSet[int](pool, "numbers")
		require.NoError(t, err)
		require.Equal(t, "2 members added", s.ok("set", "add", "numbers", "7", "70000"))
		for _, n := range []int{7, 70000} {
			there, err := numbers.Contains(ctx, n)
			require.NoError(t, err)
			require.True(t, there, n)
		}
		require.Equal(t, "7\n70000", s.ok("set", "list", "numbers"))
		require.Equal(t, "2", s.ok("set", "len", "numbers"))
		s.ok("set", "has", "numbers", "7")
		require.Equal(t, "numbers has no member 8", s.fails(exitNotFound, "set", "has", "numbers", "8"))
		require.Equal(t, `{"removed":1}`, s.ok("set", "remove", "numbers", "7", "8", "-o", "json"))
		s.ok("set", "clear", "numbers")
		require.Equal(t, "numbers does not exist", s.fails(exitNotFound, "set", "clear", "numbers"))
		require.Equal(t, "[]", s.ok("set", "list", "numbers", "-o", "json"))

		places, err := storage.NewMap[position](pool, "places", storage.ObjectOptions{Codec: storage.JSON})
		require.NoError(t, err)
		s.ok("map", "put", "places", "here", `{"x":1,"s":"a"}`, "--codec", "json")
		p, ok, err := places.Get(ctx, "here")
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, position{1, "a"}, p)
		require.Equal(t, `{"s":"a","x":1}`, s.ok("map", "get", "places", "here", "--codec", "json"))
		require.Equal(t, `{"here":{"s":"a","x":1}}`, s.ok("map", "list", "places", "--codec", "json", "-o", "json"))
		require.Equal(t, "FIELD  VALUE\nhere   {\"s\":\"a\",\"x\":1}", s.ok("map", "list", "places", "--codec", "json"))
		require.Equal(t, "places has no field there", s.fails(exitNotFound, "map", "get", "places", "there"))
		require.Equal(t, "1", s.ok("map", "len", "places"))
		require.Equal(t, "1 field removed", s.ok("map", "remove", "places", "here", "there"))

		s.ok("set", "add", "numbers", "7")
		require.Equal(t, `{"has":true}`, s.ok("set", "has", "numbers", "7", "-o", "json"))
		require.Equal(t, `{"cleared":true}`, s.ok("set", "clear", "numbers", "-o", "json"))
		require.Equal(t, `{"put":true}`, s.ok("map", "put", "places", "here", "1", "-o", "json"))
		require.Equal(t, `{"cleared":true}`, s.ok("map", "clear", "places", "-o", "json"))
		require.Empty(t, s.ok("map", "put", "places", "here", "1"))

		// Values in any format are shown.
		mixed, err := storage.NewMap[[]byte](pool, "mixed", storage.ObjectOptions{Codec: storage.Raw})
		require.NoError(t, err)
		for field, data := range map[string]string{"json": `{"a": [1, 2]}`, "text": "two words", "msgpack": "\x81\xa1a\x07", "none": "", "bytes": "\xff\xfe"} {
			require.NoError(t, mixed.Put(ctx, field, []byte(data)))
		}
		require.Equal(t, "FIELD    VALUE\nbytes    //4=\njson     {\"a\":[1,2]}\nmsgpack  {\"a\":7}\nnone\ntext     two words", s.ok("map", "list", "mixed"))
		require.Equal(t, `{"bytes":"//4=","json":{"a":[1,2]},"msgpack":{"a":7},"none":"","text":"two words"}`, s.ok("map", "list", "mixed", "-o", "json"))
		require.Equal(t, `{"a":[1,2]}`, s.ok("map", "get", "mixed", "json"))
		require.Equal(t, "two words", s.ok("map", "get", "mixed", "text", "--codec", "json"), "a value that is no JSON is shown as it is")
		_, err = pool.Redis().SAdd(ctx, "foreign", "plain", `{"b": 1}`, "\x07").Result()
		require.NoError(t, err)
		require.Equal(t, "plain\n7\n{\"b\":1}", s.ok("set", "list", "foreign"))

		s.ok("set", "add", "words", "7", "--codec", "text", "--ttl", "100")
		words, err := storage.NewSet[string](pool, "words", storage.ObjectOptions{Codec: storage.Text})
		require.NoError(t, err)
		all, err := words.Get(ctx)
		require.NoError(t, err)
		require.Equal(t, []string{"7"}, all)
		ttl, err := pool.Redis().TTL(ctx, words.Key()).Result()
		require.NoError(t, err)
		require.Positive(t, ttl)
		require.Equal(t, `key "words" holds another type than a hash`, s.fails(exitFailed, "map", "len", "words"))
		require.Contains(t, s.fails(exitUsage, "set", "add", "a b", "x"), "' ' is not allowed")
		require.Contains(t, s.fails(exitUsage, "set", "add", "x"), "MEMBER is missing")
	})
}
