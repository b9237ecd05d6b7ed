package keywords_test

import (
	"context"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/keywords"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

const (
	domain   = "Cauldron_redis.common"
	registry = domain + ".SERVICES_REGISTRY"
)

// cauldron does what a Cauldron dispatcher does in Redis.
type cauldron struct {
	t    *testing.T
	pool *storage.Pool
}

func (c cauldron) write(name, value string) {
	c.t.Helper()
	key := domain + ".stage." + name
	for _, pair := range [][2]string{{key + ":status", "modify"}, {key, value}, {key + ":status", "ready"}} {
		require.NoError(c.t, c.pool.Redis().Set(c.t.Context(), pair[0], pair[1], 0).Err())
	}
}

func (c cauldron) begin(names ...string) {
	c.t.Helper()
	ctx := c.t.Context()
	require.NoError(c.t, c.pool.Redis().SAdd(ctx, registry, "stage").Err())
	for _, name := range names {
		require.NoError(c.t, c.pool.Redis().MSet(ctx, domain+".stage."+name, "", domain+".stage."+name+":status", "init").Err())
	}
}

func (c cauldron) shutdown() {
	c.t.Helper()
	require.NoError(c.t, c.pool.Redis().SRem(c.t.Context(), registry, "stage").Err())
}

func bridge(t *testing.T, pool *storage.Pool) *keywords.Legacy {
	t.Helper()
	l, err := keywords.NewLegacy(pool, keywords.LegacyConfig{Domain: domain, Services: []string{"stage"}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	return l
}

// readsLegacy writes text as Cauldron does and expects want of a keyword of its own.
func readsLegacy[T keywords.Type](c cauldron, l *keywords.Legacy, text string, want T, spec keywords.Spec[T]) {
	c.t.Helper()
	c.write("ANY", text)
	v, err := keywords.ReadLegacy(c.t.Context(), l, keywords.Define("stage", "ANY", spec))
	require.NoError(c.t, err, text)
	require.Equal(c.t, keywords.Value[T]{V: want}, v, text)
}

// Values are read as Cauldron's Python code writes them.
func TestReadLegacy(t *testing.T) {
	t.Parallel()
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		ctx, c, l := t.Context(), cauldron{t, pool}, bridge(t, pool)
		c.begin("NOTE", "SPEED")
		readsLegacy(c, l, "1", true, keywords.Spec[bool]{})
		readsLegacy(c, l, "0", false, keywords.Spec[bool]{})
		readsLegacy(c, l, "-12", -12, keywords.Spec[int]{})
		for text, f := range map[string]float64{"1.5": 1.5, "3.0": 3, "1e-05": 1e-5, "1e+16": 1e16, "0.30000000000000004": 0.30000000000000004, "inf": math.Inf(1), "-inf": math.Inf(-1)} {
			readsLegacy(c, l, text, f, keywords.Spec[float64]{})
		}
		c.write("SPEED", "nan")
		nan, err := keywords.ReadLegacy(ctx, l, Speed)
		require.NoError(t, err)
		require.True(t, math.IsNaN(nan.V))
		readsLegacy(c, l, "2", Slew, keywords.Spec[Mode]{Enumerators: []string{"idle", "track", "slew"}})
		readsLegacy(c, l, "2", Slew, keywords.Spec[Mode]{Enumerators: []string{"2", "1", "0"}}) // not the name 2
		readsLegacy(c, l, "a b", "a b", keywords.Spec[string]{})
		readsLegacy(c, l, "", "", keywords.Spec[string]{})

		_, err = keywords.ReadLegacy(ctx, l, Note)
		require.ErrorIs(t, err, keywords.ErrNoValue)
		c.write("COUNT", "")
		_, err = keywords.ReadLegacy(ctx, l, Count)
		require.ErrorIs(t, err, keywords.ErrNoValue)
		c.write("COUNT", "many")
		_, err = keywords.ReadLegacy(ctx, l, Count)
		require.ErrorIs(t, err, keywords.CodeMalformed)
		c.write("MODE", "7")
		_, err = keywords.ReadLegacy(ctx, l, ModeOf)
		require.ErrorIs(t, err, keywords.CodeEnumerator)
		_, err = keywords.ReadLegacy(ctx, l, keywords.Define("stage", "OTHER", keywords.Spec[int]{}))
		require.ErrorIs(t, err, keywords.CodeUnknownKeyword)
		require.ErrorContains(t, err, "no key "+domain+".stage.OTHER")
		require.NoError(t, pool.Redis().HSet(ctx, domain+".stage.HASH", "a", "b").Err())
		_, err = keywords.ReadLegacy(ctx, l, keywords.Define("stage", "HASH", keywords.Spec[int]{}))
		var wrong *storage.WrongTypeError
		require.ErrorAs(t, err, &wrong)

		c.write("SPEED", "2.5")
		v, err := keywords.ReadLegacy(ctx, l, Speed)
		require.NoError(t, err)
		require.Equal(t, keywords.QualityGood, v.Quality)
		c.shutdown()
		v, err = keywords.ReadLegacy(ctx, l, Speed)
		require.NoError(t, err)
		require.Equal(t, keywords.Value[float64]{V: 2.5, Quality: keywords.QualityStale}, v)
	})
}

func TestLegacyRefuses(t *testing.T) {
	t.Parallel()
	pool := storagetest.New(t)
	ctx := t.Context()
	for want, cfg := range map[string]keywords.LegacyConfig{
		"LegacyConfig.Domain: it is empty":                         {},
		`LegacyConfig.Domain: name "a*": '*' is not allowed`:       {Domain: "a*"},
		`LegacyConfig.Services[1]: name "b c": ' ' is not allowed`: {Domain: domain, Services: []string{"a", "b c"}},
	} {
		_, err := keywords.NewLegacy(pool, cfg)
		require.ErrorContains(t, err, want)
	}
	_, err := keywords.NewLegacy(storagetest.Open(t, storage.Config{URL: pool.Config().URL, Prefix: "obs", Redis: pool.Config().Redis}), keywords.LegacyConfig{Domain: domain})
	require.ErrorContains(t, err, `the pool has the prefix "obs"`)

	c := cauldron{t, pool}
	c.write("SPEED", "1")
	none, err := keywords.NewLegacy(pool, keywords.LegacyConfig{Domain: domain})
	require.NoError(t, err)
	_, err = keywords.ReadLegacy(ctx, none, Speed)
	require.EqualError(t, err, "keywords: stage.SPEED: LegacyConfig.Services does not list stage")
	for _, err := range keywords.WatchLegacy(ctx, none, Speed) {
		require.ErrorContains(t, err, "does not list stage")
	}

	l := bridge(t, pool)
	_, err = keywords.ReadLegacy(ctx, l, keywords.Define("stage", "SPEED", keywords.Spec[float64]{WriteOnly: true}))
	require.ErrorIs(t, err, keywords.CodeWriteOnly)
	_, err = keywords.ReadLegacy(ctx, l, keywords.Keyword[int]{})
	require.ErrorContains(t, err, "zero Keyword")
	for _, err := range keywords.WatchLegacy(ctx, l, Note) {
		require.ErrorIs(t, err, keywords.CodeUnknownKeyword)
	}
	require.NoError(t, l.Close())
	_, err = keywords.ReadLegacy(ctx, l, Speed)
	require.ErrorIs(t, err, keywords.ErrClosed)
}

// A watch follows keyspace notifications, and publishes nothing that Cauldron would take
// for a modify.
func TestWatchLegacy(t *testing.T) {
	t.Parallel()
	srv := storagetest.Start(t)
	pool := storagetest.Open(t, srv.Config())
	ctx, rdb, c := t.Context(), pool.Redis(), cauldron{t, pool}
	require.NoError(t, rdb.ConfigSet(ctx, "notify-keyspace-events", "KA").Err())
	published := rdb.PSubscribe(ctx, domain+"*")
	defer published.Close()
	_, err := published.Receive(ctx)
	require.NoError(t, err)

	c.begin("SPEED")
	ctx, cancel := context.WithCancel(ctx)
	events := make(chan keywords.Event[float64], 1)
	ended := make(chan error, 1)
	l := bridge(t, pool)
	go func() {
		for ev, err := range keywords.WatchLegacy(ctx, l, Speed) {
			if err != nil {
				ended <- err
				return
			}
			events <- ev
		}
	}()
	next := func(kinds ...keywords.EventKind) keywords.Event[float64] {
		t.Helper()
		select {
		case ev := <-events:
			require.Contains(t, kinds, ev.Kind)
			return ev
		case err := <-ended:
			t.Fatal(err)
		case <-time.After(patience):
			t.Fatal("no event")
		}
		panic("not reached")
	}
	// On a slow machine the periodic read may be before the notification.
	change := []keywords.EventKind{keywords.EventChange, keywords.EventResync}
	require.Eventually(t, func() bool {
		return rdb.PubSubNumSub(ctx, "__keyspace@0__:"+registry).Val()["__keyspace@0__:"+registry] == 1
	}, patience, 1e6)
	c.write("SPEED", "1.5")
	ev := next(keywords.EventInitial, keywords.EventChange, keywords.EventResync)
	require.Equal(t, keywords.Event[float64]{Kind: ev.Kind, Service: "stage", Keyword: "SPEED", Value: keywords.Value[float64]{V: 1.5}}, ev)
	c.write("SPEED", "1.5") // is no event
	c.write("SPEED", "2.5")
	ev = next(change...)
	require.Equal(t, 2.5, ev.Value.V)
	require.Equal(t, 1.5, ev.Prev.V)
	c.write("SPEED", "fast")
	ev = next(keywords.EventMismatch)
	require.ErrorIs(t, ev.Err, keywords.CodeMalformed)
	require.Zero(t, ev.Value)
	c.write("SPEED", "3.5")
	require.Nil(t, next(change...).Prev)
	c.shutdown()
	require.Equal(t, keywords.Value[float64]{V: 3.5, Quality: keywords.QualityStale}, next(keywords.EventStale).Value)
	c.begin()
	require.Equal(t, keywords.QualityGood, next(keywords.EventGood).Value.Quality)
	require.NoError(t, rdb.Del(ctx, domain+".stage.SPEED").Err())
	require.Equal(t, 3.5, next(keywords.EventGone).Value.V)
	c.begin("SPEED")
	c.write("SPEED", "4.5")
	require.Equal(t, 4.5, next(change...).Value.V)

	cancel()
	require.ErrorIs(t, <-ended, context.Canceled)
	require.NoError(t, rdb.Publish(t.Context(), domain+".end", "").Err())
	m, err := published.ReceiveMessage(t.Context())
	require.NoError(t, err)
	require.Equal(t, domain+".end", m.Channel, "nothing else was published")
}

// Without notifications, and after an outage, a watch finds what has changed.
func TestWatchLegacyReadsAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		network := storagetest.NewNetwork(t) // its server sends no notifications
		pool := storagetest.Open(t, network.Config())
		c, l := cauldron{t, pool}, bridge(t, pool)
		c.begin("SPEED")
		c.write("SPEED", "1.5")
		next := watched(t, keywords.WatchLegacy(t.Context(), l, Speed))
		next(keywords.EventInitial)
		c.write("SPEED", "2.5")
		require.Equal(t, 2.5, next(keywords.EventResync).Value.V)
		c.shutdown()
		next(keywords.EventStale)
		c.begin()
		next(keywords.EventGood)

		network.Down()
		ev := next(keywords.EventDisconnected)
		require.Equal(t, keywords.Value[float64]{V: 2.5, Quality: keywords.QualityDisconnected}, ev.Value)
		network.Up()
		require.Equal(t, 2.5, next(keywords.EventGood).Value.V)
		network.Down()
		next(keywords.EventDisconnected)
		network.Up()
		c.write("SPEED", "3.5")
		require.Equal(t, 3.5, next(keywords.EventResync).Value.V)
	})
}

// A watch that begins while Redis is away waits, until its context ends or the bridge is
// closed.
func TestWatchLegacyWhileRedisIsAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		network := storagetest.NewNetwork(t)
		pool := storagetest.Open(t, network.Config())
		c, l := cauldron{t, pool}, bridge(t, pool)
		c.write("SPEED", "1.5")
		network.Down()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		for _, err := range keywords.WatchLegacy(ctx, l, Speed) {
			require.ErrorIs(t, err, context.DeadlineExceeded)
		}
		time.AfterFunc(time.Minute, network.Up)
		next := watched(t, keywords.WatchLegacy(t.Context(), l, Speed))
		next(keywords.EventInitial)
		time.AfterFunc(time.Second, func() { _ = l.Close() })
		n := 0
		for ev, err := range keywords.WatchLegacy(t.Context(), l, Speed) {
			if n++; n == 1 {
				require.NoError(t, err)
				require.Equal(t, keywords.EventInitial, ev.Kind)
				continue
			}
			require.ErrorIs(t, err, keywords.ErrClosed)
		}
		require.Equal(t, 2, n)
	})
}

// The ACL line of README.md lets a bridge read and watch, and nothing else.
func TestACLOfLegacy(t *testing.T) {
	t.Parallel()
	srv := storagetest.Start(t)
	admin := storagetest.Open(t, srv.Config())
	ctx := t.Context()
	require.NoError(t, admin.Redis().Do(ctx, aclLines(t, "bridge")[0]...).Err())
	c := cauldron{t, admin}
	c.begin()
	c.write("SPEED", "1.5")
	cfg := srv.Config()
	cfg.Redis.Username, cfg.Redis.Password = "bridge", "secret"
	pool := storagetest.Open(t, cfg)
	l := bridge(t, pool)
	v, err := keywords.ReadLegacy(ctx, l, Speed)
	require.NoError(t, err)
	require.Equal(t, 1.5, v.V)
	for ev, err := range keywords.WatchLegacy(ctx, l, Speed) {
		require.NoError(t, err)
		require.Equal(t, 1.5, ev.Value.V)
		break
	}
	key := domain + ".stage.SPEED"
	for _, command := range []string{"PUBLISH " + key + " 2", "SET " + key + " 2", "GET other", "SUBSCRIBE " + key} {
		var words []any
		for _, word := range strings.Fields(command) {
			words = append(words, word)
		}
		require.ErrorContains(t, pool.Redis().Do(ctx, words...).Err(), "NOPERM", command)
	}
}
