package fws_test

import (
	"bytes"
	"context"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/gateway"
	"github.com/heliograph/heliograph/gateway/fws"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// farConn takes a second for each script, and counts them.
type farConn struct {
	net.Conn
	n *atomic.Int32
}

func (c *farConn) Write(b []byte) (int, error) {
	if bytes.Contains(b, []byte("evalsha")) {
		c.n.Add(1)
		time.Sleep(time.Second)
	}
	return c.Conn.Write(b)
}

// A crowd that comes, moves and goes at once does not wait in line for Redis.
func TestACrowdJoinsGroups(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var n atomic.Int32
		network := storagetest.NewNetwork(t)
		cfg := network.Config()
		cfg.Redis.Dialer = func(ctx context.Context, proto, addr string) (net.Conn, error) {
			conn, err := network.Dial(ctx, proto, addr)
			return &farConn{conn, &n}, err
		}
		groups, err := fws.NewGroups(storagetest.Open(t, cfg), fws.GroupsConfig{Lease: time.Hour})
		require.NoError(t, err)
		conns := make([]gateway.Conn, 100)
		together := func(do func(ctx context.Context, c *gateway.Conn) error) {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second) // as Limits.Command has, for instance
			defer cancel()
			errs := make([]error, len(conns))
			var wg sync.WaitGroup
			for i := range conns {
				wg.Go(func() { errs[i] = do(ctx, &conns[i]) })
			}
			wg.Wait()
			for _, err := range errs {
				require.NoError(t, err)
			}
		}
		for _, group := range []string{"red", "blue"} {
			together(func(ctx context.Context, c *gateway.Conn) error { return groups.Join(ctx, c, group) })
			members, err := groups.Members(t.Context(), group)
			require.NoError(t, err)
			require.Len(t, members, len(conns))
		}
		members, err := groups.Members(t.Context(), "red")
		require.NoError(t, err)
		require.Empty(t, members)
		together(func(ctx context.Context, c *gateway.Conn) error { return groups.Leave(ctx, c) })
		members, err = groups.Members(t.Context(), "blue")
		require.NoError(t, err)
		require.Empty(t, members)
		require.LessOrEqual(t, n.Load(), int32(20), "scripts")
		require.NoError(t, groups.Close())
	})
}
