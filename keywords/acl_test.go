package keywords_test

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/keywords"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// aclLines returns the ACL lines of README.md for users, split into words.
func aclLines(t *testing.T, users ...string) (lines [][]any) {
	doc, err := os.ReadFile("README.md")
	require.NoError(t, err)
	for line := range strings.Lines(string(doc)) {
		if line, ok := strings.CutPrefix(line, "    ACL SETUSER "); ok && slices.Contains(users, strings.Fields(line)[0]) {
			words := []any{"acl", "setuser"}
			for _, word := range strings.Fields(line) {
				words = append(words, word)
			}
			lines = append(lines, words)
		}
	}
	require.Len(t, lines, len(users))
	return lines
}

// The lines of README.md are enough for everything, and for no more than they say.
func TestACLOfDispatcherAndClient(t *testing.T) {
	for name, c := range map[string]struct {
		prefix string
		edit   *strings.Replacer // of each word
	}{
		"as they are":   {"", strings.NewReplacer()},
		"with a prefix": {"obs", strings.NewReplacer("~", "~obs:", "&", "&obs:")},
		"one service":   {"", strings.NewReplacer("~kw:*", "~kw:{stage}:*", "&kw:*", "&kw:stage:*")},
	} {
		t.Run(name, func(t *testing.T) { testACL(t, c.prefix, c.edit) })
	}
}

func testACL(t *testing.T, prefix string, edit *strings.Replacer) {
	srv := storagetest.Start(t)
	admin := storagetest.Open(t, srv.Config())
	for _, line := range aclLines(t, "dispatcher", "client") {
		for i := range line {
			line[i] = edit.Replace(line[i].(string))
		}
		require.NoError(t, admin.Redis().Do(t.Context(), line...).Err(), "%v", line)
		if strings.Contains(line[5].(string), "{") {
			services := strings.Replace(line[5].(string), "{stage}:*", "services", 1)
			require.NoError(t, admin.Redis().Do(t.Context(), "acl", "setuser", line[2], services).Err())
		}
	}
	as := func(user string) *storage.Pool {
		cfg := srv.Config()
		cfg.Prefix = prefix
		cfg.Redis.Username, cfg.Redis.Password = user, "secret"
		return storagetest.Open(t, cfg)
	}
	ctx := t.Context()
	d := run(t, as("dispatcher"), keywords.DispatcherConfig{Status: "STATUS", Heartbeat: "CLK"}, nil).wait()
	clients := as("client")
	k := client(t, clients)

	watching, stop := context.WithCancel(ctx)
	defer stop()
	changed := make(chan float64, 10)
	go func() {
		for ev, err := range keywords.Watch(watching, k, Speed) {
			if err != nil {
				close(changed)
				return
			}
			changed <- ev.Value.V
		}
	}()
	require.Equal(t, 1.0, <-changed)
	_, err := keywords.Modify(ctx, k, Speed, 3)
	require.NoError(t, err)
	require.Equal(t, 3.0, <-changed)
	_, err = keywords.ModifyMany(ctx, k, Speed.To(4), ModeOf.To(Track))
	require.NoError(t, err)
	_, err = keywords.ModifyText(ctx, k, "stage", "SPEED", "5")
	require.NoError(t, err)
	require.NoError(t, keywords.Set(ctx, d.Dispatcher, Count, 7))
	v, err := keywords.Read(ctx, k, Count, keywords.ReadOptions{Refresh: true})
	require.NoError(t, err)
	require.Equal(t, 7, v.V)
	_, err = keywords.ReadMany(ctx, k, "stage", "SPEED", "MODE")
	require.NoError(t, err)
	_, err = keywords.WaitFor(ctx, k, Speed, func(v float64) bool { return v == 5 })
	require.NoError(t, err)
	require.NoError(t, keywords.WaitForExpr(ctx, k, "$stage.STATUS == ready and $stage.MODE == track"))
	services, err := k.Services(ctx)
	require.NoError(t, err)
	require.Equal(t, []string{"stage"}, services)
	_, err = k.Keywords(ctx, "stage")
	require.NoError(t, err)
	stop()
	for range changed {
	}

	refusals, err := admin.Redis().ACLLog(ctx, 10).Result()
	require.NoError(t, err)
	require.Empty(t, refusals, "nothing was done without in silence")

	// No way around the dispatcher, and none to what is not ours.
	value, err := clients.Key("kw", redisio.HashTag("stage"), "v", "SPEED")
	require.NoError(t, err)
	require.NoError(t, clients.Redis().HGetAll(ctx, value).Err())
	for _, refused := range [][]any{
		{"hset", value, "v", "19"}, {"del", value}, {"get", "other"},
		{"publish", "other", "x"}, {"flushall"}, {"config", "get", "*"},
	} {
		require.ErrorContains(t, clients.Redis().Do(ctx, refused...).Err(), "NOPERM", "%v", refused)
	}
	require.ErrorIs(t, k.Clear(ctx, "stage"), keywords.ErrServed)
	d.stop()
	require.NoError(t, <-d.ended)
	require.Error(t, k.Clear(ctx, "stage"), "it deletes")
	require.NoError(t, client(t, as("dispatcher")).Clear(ctx, "stage"))
}

// What doc.go says that DispatcherConfig.ExternalWrites needs besides.
func TestACLOfNotifications(t *testing.T) {
	storagetest.Long(t)
	t.Parallel()
	srv := storagetest.Start(t)
	admin := storagetest.Open(t, srv.Config())
	ctx := t.Context()
	allow := func(words ...any) {
		require.NoError(t, admin.Redis().Do(ctx, append([]any{"acl", "setuser", "dispatcher"}, words...)...).Err())
	}
	allow(aclLines(t, "dispatcher", "client")[0][3:]...)
	cfg := srv.Config()
	cfg.Redis.Username, cfg.Redis.Password = "dispatcher", "secret"
	begin := func() *running {
		return run(t, storagetest.Open(t, cfg), keywords.DispatcherConfig{ExternalWrites: keywords.ExternalRevert}, nil).wait()
	}
	for _, more := range [][]any{{}, {"&__keyspace@0__:kw:{stage}:v:*"}} {
		allow(more...)
		d := begin()
		require.ErrorIs(t, d.Notifications(), keywords.ErrNotificationsUnavailable)
		require.ErrorContains(t, d.Notifications(), "NOPERM")
		k := client(t, admin)
		_, err := keywords.Modify(ctx, k, Speed, 3)
		require.NoError(t, err, "all else works")
		d.stop()
		require.NoError(t, <-d.ended)
	}
	allow("+config|get", "+config|set")
	d := begin()
	require.NoError(t, d.Notifications())
	d.stop()
	require.NoError(t, <-d.ended)
	allow("-config|get", "-config|set") // once an admin has set it, it need not be allowed
	d = begin()
	require.NoError(t, d.Notifications())

	// Nor must it be there before the dispatcher is.
	d.stop()
	require.NoError(t, <-d.ended)
	require.NoError(t, admin.Redis().ConfigSet(ctx, "notify-keyspace-events", "").Err())
	d = begin()
	require.ErrorIs(t, d.Notifications(), keywords.ErrNotificationsUnavailable)
	require.ErrorContains(t, d.Notifications(), "NOPERM")
	k := client(t, admin)
	for v := range 3 {
		_, err := keywords.Modify(ctx, k, Speed, float64(v))
		require.NoError(t, err)
	}
	require.NoError(t, admin.Redis().HSet(ctx, "kw:{stage}:v:SPEED", "v", "9").Err())
	require.NoError(t, admin.Redis().ConfigSet(ctx, "notify-keyspace-events", "KEA").Err())
	reads := func(want float64) func() bool {
		return func() bool { v, err := keywords.Read(ctx, k, Speed); return err == nil && v.V == want }
	}
	require.Eventually(t, reads(2), patience, 10*time.Millisecond, "what was written before")
	require.NoError(t, d.Notifications())
	require.NoError(t, admin.Redis().HSet(ctx, "kw:{stage}:v:SPEED", "v", "9").Err())
	require.Eventually(t, reads(2), patience, 10*time.Millisecond, "the first that is written then")
}

// Listen returns the ACL's error to a client that may not follow a service; the client
// may try again.
func TestListenWithoutTheChannel(t *testing.T) {
	t.Parallel()
	srv := storagetest.Start(t)
	admin := storagetest.Open(t, srv.Config())
	run(t, admin, keywords.DispatcherConfig{}, nil).wait()
	allow := func(words ...any) {
		require.NoError(t, admin.Redis().Do(t.Context(), append([]any{"acl", "setuser", "client"}, words...)...).Err())
	}
	allow("on", ">secret", "~*", "resetchannels", "+@all")
	cfg := srv.Config()
	cfg.Redis.Username, cfg.Redis.Password = "client", "secret"
	k := client(t, storagetest.Open(t, cfg))
	called := make(chan float64, 10)
	hear := func(ev keywords.Event[float64]) { called <- ev.Value.V }
	_, err := keywords.Listen(soon(t), k, Speed, hear)
	require.ErrorContains(t, err, "NOPERM")
	allow("allchannels")
	_, err = keywords.Listen(soon(t), k, Speed, hear)
	require.NoError(t, err)
	require.Equal(t, 1.0, <-called)
}
