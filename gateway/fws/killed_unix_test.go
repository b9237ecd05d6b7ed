//go:build unix

package fws_test

import (
	"bufio"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/gateway"
	"github.com/heliograph/heliograph/gateway/fws"
	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// gatewayAddr makes the test binary a gateway of groups on the Redis at that
// address. It prints its own.
const gatewayAddr = "HELIOGRAPH_TEST_GROUPS"

// mortal configures the groups of such a process, and the others'.
var mortal = fws.GroupsConfig{Tokens: true, Lease: 2 * time.Second}

func init() {
	addr := os.Getenv(gatewayAddr)
	if addr == "" {
		return
	}
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	pool, err := storage.Open(storage.Config{Redis: redis.UniversalOptions{Addrs: []string{addr}}})
	must(err)
	groups, err := fws.NewGroups(pool, mortal)
	must(err)
	h, err := gateway.New(pool, gateway.Config{Protocols: []gateway.Protocol{gateway.Plain}, Hooks: []gateway.Hooks{groups.Hooks()}})
	must(err)
	srv := httptest.NewServer(h)
	_, err = os.Stdout.WriteString(strings.Replace(srv.URL, "http", "ws", 1) + "\n")
	must(err)
	select {} // until it is killed
}

func TestAProcessThatIsKilledLeavesItsGroups(t *testing.T) {
	t.Parallel()
	storagetest.Long(t)
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		here := newProcess(t, pool, mortal)
		ann := here.member(t, "red")

		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), gatewayAddr+"="+pool.Config().Redis.Addrs[0])
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
		url, err := bufio.NewReader(out).ReadString('\n')
		require.NoError(t, err)

		there := process{here.groups, strings.TrimSpace(url)}
		bob := there.member(t, "red")
		there.member(t, "blue")
		here.count(t, "red", 2)
		here.count(t, "blue", 1)
		bob.send("from another process")
		require.Equal(t, "from another process", ann.raw())

		require.NoError(t, cmd.Process.Kill())
		here.count(t, "red", 1)
		here.count(t, "blue", 0)
		ann.send("token:red")
		require.Equal(t, "Successfully registered with broadcast group: red", ann.raw())
	})
}
