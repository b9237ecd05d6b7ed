package gateway

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/pubsub"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// reading returns a live follower of a channel that nothing hands out, and its client.
func reading(t *testing.T, rule Channel, l Limits) (f *follower, client net.Conn) {
	h, err := New(storagetest.New(t), Config{Limits: l})
	require.NoError(t, err)
	t.Cleanup(func() { _ = h.Close() })
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	client, err = net.Dial("tcp", listener.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = client.Close() })
	server, err := listener.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { _ = server.Close() })

	ch := &channel{hub: &h.hub, name: "news", rule: &rule, running: true}
	ch.log = newLog(&h.cfg.Limits, rule.Slow == SlowConflate)
	c := &Conn{h: h, v: &h.variants[0], net: server, direct: newDirect(server)}
	c.principal.Store(&Principal{})
	f, err = ch.add(c, presenceEntry{})
	require.NoError(t, err)
	f.live = true
	return f, client
}

// publish delivers messages whose contents and offsets are numbers.
func (ch *channel) publish(first, last int) {
	for i := first; i <= last; i++ {
		ch.deliver(Publication{Data: fmt.Append(nil, i), Offset: fmt.Sprint("a:1-", i)})
	}
}

// read returns the contents of what the writer reads next.
func (f *follower) read() (contents []string) {
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	messages, _ := f.readLocked(nil, 1<<20)
	for _, m := range messages {
		contents = append(contents, string(m.Content))
	}
	return contents
}

// What comes after a lost message isn't sent to a client that is disconnected for it: the
// client would resume after the offset of that.
func TestNothingIsSentAfterWhatADisconnectedClientLost(t *testing.T) {
	t.Parallel()
	f, _ := reading(t, Channel{History: &pubsub.History{}}, Limits{LogMessages: 4})
	f.c.writing = true
	f.ch.publish(1, 4)
	f.ch.log.handed = f.ch.log.next
	f.ch.publish(5, 5)
	require.Empty(t, f.read())
	require.Equal(t, CloseSlow, f.c.reason.Code)
}

// The fan-out does not wait for a connection that is being closed. If its client has missed something,
// nothing after that is sent.
func TestNothingIsSentAfterWhatAClosingConnectionMissed(t *testing.T) {
	t.Parallel()
	f, _ := reading(t, Channel{Slow: SlowDropOldest}, Limits{LogMessages: 4})
	f.c.writing = true
	f.ch.publish(1, 2)
	f.news = true
	f.c.Close(CloseLifetime, "")
	var r round
	for i := 3; f.ch.begin(&r); i++ {
		r.visitAll()
		require.True(t, f.ch.finish(&r))
		if i < 5 {
			f.ch.publish(i, i)
		}
	}
	f.ch.publish(5, 5)
	require.Empty(t, f.read())
}

// A gap is reported where it is, also if it has left the log before it was handed out.
func TestAGapThatLeftTheLogIsReportedInItsPlace(t *testing.T) {
	t.Parallel()
	f, client := reading(t, Channel{}, Limits{LogMessages: 4})
	f.ch.deliver(Publication{Gap: true})
	f.ch.publish(1, 4)
	var r round
	require.True(t, f.ch.begin(&r))
	r.visitAll()
	require.NoError(t, client.SetReadDeadline(time.Now().Add(20*time.Second)))
	var got strings.Builder
	for buf := make([]byte, 4096); !strings.Contains(got.String(), `"a:1-4"`); {
		n, err := client.Read(buf)
		require.NoError(t, err)
		got.Write(buf[:n])
	}
	gap, first := strings.Index(got.String(), `"gap"`), strings.Index(got.String(), `"a:1-1"`)
	require.GreaterOrEqual(t, gap, 0, "the gap is reported")
	require.Less(t, gap, first)
}

// The end of a channel reaches a connection as soon as it is among the followers.
func TestAChannelEndsWhileItIsJoined(t *testing.T) {
	t.Parallel()
	f, _ := reading(t, Channel{}, Limits{})
	f.c.writing = true
	f.ch.unsubscribeAll(errors.New("refused"))
	require.True(t, f.left)
	require.Empty(t, f.ch.followers)
	require.Contains(t, string(f.c.queue[0].data), "unsubscribed")
}

// A list and a map of followers behave alike.
func TestFollowing(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, maxFew, maxFew + 1, 100} {
		var f following
		var all []*follower
		for i := range n {
			all = append(all, &follower{ch: &channel{name: fmt.Sprintf("%03d", i)}})
			f.add(all[i])
		}
		require.Equal(t, n, f.len())
		require.Len(t, f.names(), n)
		require.IsIncreasing(t, append([]string{""}, f.names()...))
		require.False(t, f.remove(&follower{ch: all[0].ch}), "another one")
		for i, each := range all {
			require.Same(t, each, f.get(each.ch.name))
			require.True(t, f.remove(each))
			require.False(t, f.remove(each))
			require.Nil(t, f.get(each.ch.name))
			require.Equal(t, n-i-1, f.len())
		}
		f.add(all[0])
		require.Same(t, all[0], f.get(all[0].ch.name))
	}
}
