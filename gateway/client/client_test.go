package client_test

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/gateway/client"
	"github.com/heliograph/heliograph/internal/chromium"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// patience bounds a run of the suite.
const patience = 4 * time.Minute

// cutsInAll is how many connections are cut in the long run.
const cutsInAll = 1000

// runner has the suite run somewhere.
type runner func(t *testing.T, s *suite, names ...string) report

// inNode runs the suite in Node.
func inNode(t *testing.T, s *suite, names ...string) report {
	args := append([]string{"testdata/run.mjs", s.http.URL, s.proxy.url()}, names...)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", append(nodeFlags(t), args...)...)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	require.NoError(t, cmd.Run(), "%v", &out)
	return s.await(ctx)
}

// nodeFlags returns what gives Node a WebSocket. Before version 20.10 it has none.
func nodeFlags(t *testing.T) []string {
	for _, flags := range [][]string{nil, {"--experimental-websocket", "--no-warnings"}} {
		out, err := exec.Command("node", append(flags, "-p", "typeof WebSocket")...).Output()
		if err == nil && strings.TrimSpace(string(out)) == "function" {
			return flags
		}
	}
	t.Skip("no Node with WebSockets on the PATH; the same suite runs in Chromium")
	return nil
}

// inChromium runs the suite in a page.
func inChromium(t *testing.T, s *suite, names ...string) report {
	p := chromium.Start(t)
	p.Navigate(s.http.URL + "/suite.html")
	args, err := json.Marshal(names)
	require.NoError(t, err)
	p.Eval(fmt.Sprintf(`void import("/suite.mjs").then((suite) => suite.run(%q, %q, %s))`, s.http.URL, s.proxy.url(), args))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return s.await(ctx)
}

func TestSuite(t *testing.T) {
	t.Parallel()
	for name, run := range map[string]runner{"node": inNode, "chromium": inChromium} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storagetest.Long(t)
			s := newSuite(t)
			requirePassed(t, run(t, s, names...), names...)
		})
	}
}

// Whenever a connection is cut, in the handshake or in the middle of a frame, what was
// published and not received is behind a gap, and nothing comes twice.
func TestCuts(t *testing.T) {
	t.Parallel()
	for name, run := range map[string]runner{"node": inNode, "chromium": inChromium} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storagetest.Long(t)
			s := newSuite(t)
			seed := uint64(time.Now().UnixNano())
			t.Logf("seed %d", seed)
			done, ended := make(chan struct{}), make(chan struct{})
			go func() {
				s.storm(cutsInAll/2, seed, done)
				close(ended)
			}()
			rep := run(t, s, "cuts")
			close(done)
			<-ended
			requirePassed(t, rep, "cuts")
		})
	}
}

func TestHandler(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(client.Handler())
	t.Cleanup(srv.Close)
	get := func(path string, header ...string) *http.Response {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL+path, nil)
		require.NoError(t, err)
		for i := 0; i < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		resp, err := (&http.Transport{DisableKeepAlives: true, DisableCompression: true}).RoundTrip(req)
		require.NoError(t, err)
		t.Cleanup(func() { _ = resp.Body.Close() })
		return resp
	}
	body := func(r io.Reader) string {
		text, err := io.ReadAll(r)
		require.NoError(t, err)
		return string(text)
	}

	module := get("/heliograph.js")
	require.Equal(t, "text/javascript; charset=utf-8", module.Header.Get("Content-Type"))
	text := body(module.Body)
	require.Contains(t, text, "export const connect")
	require.NotContains(t, text, "\n//")

	small := get("/heliograph.js", "Accept-Encoding", "br;q=1, gzip")
	require.Equal(t, "gzip", small.Header.Get("Content-Encoding"))
	packed := body(small.Body)
	require.LessOrEqual(t, len(packed), 6<<10, "bytes, gzipped")
	unpacked, err := gzip.NewReader(strings.NewReader(packed))
	require.NoError(t, err)
	require.Equal(t, text, body(unpacked))

	same := get("/heliograph.js", "If-None-Match", module.Header.Get("ETag"))
	require.Equal(t, http.StatusNotModified, same.StatusCode)
	require.NotEqual(t, module.Header.Get("ETag"), small.Header.Get("ETag"))

	types := get("/some/where/heliograph.d.ts")
	require.Contains(t, body(types.Body), "export function connect")
	source, err := os.ReadFile("heliograph.d.ts")
	require.NoError(t, err)
	require.EqualValues(t, len(source), types.ContentLength)
}

// The types compile with what they allow, and with nothing that they should not.
func TestTypes(t *testing.T) {
	t.Parallel()
	storagetest.Long(t)
	const compiler = "testdata/node_modules/typescript/bin/tsc"
	if _, err := os.Stat(compiler); err != nil {
		t.Skip("no TypeScript: run npm ci in gateway/client/testdata")
	}
	out, err := exec.Command("node", compiler, "-p", "testdata").CombinedOutput()
	require.NoError(t, err, "%s", out)
}
