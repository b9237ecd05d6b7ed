package main

import (
	"context"
	"regexp"
	"testing"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/storage"
	"github.com/heliograph/heliograph/storage/storagetest"
)

var socket = regexp.MustCompile(`gateway: (ws://\S+), and a page at `)

// serves runs helio with a gateway until the end of the test, and returns its URL.
func (s shellOn) serves(args ...string) (r *running, url string) {
	s.t.Helper()
	r = s.start(args...)
	r.errs.Await(s.t, ", and a page at ")
	return r, socket.FindStringSubmatch(r.errs.String())[1]
}

// asks connects to a gateway, sends what a browser may, and returns the first answer
// that is not a greeting.
func asks(t *testing.T, url string, commands ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	conn, _, err := websocket.Dial(t.Context(), url, nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.CloseNow() })
	for _, c := range commands {
		require.NoError(t, conn.Write(ctx, websocket.MessageText, []byte(c)))
	}
	var data []byte
	for range 2 {
		_, data, err = conn.Read(ctx)
		require.NoError(t, err)
	}
	return string(data)
}

// The Redis is that of helio, unless the gateway's own flags name another.
func TestGateway(t *testing.T) {
	t.Parallel()
	storagetest.Long(t)
	storagetest.Servers(t, func(t *testing.T, pool *storage.Pool) {
		s := on(t, pool)
		s.ok("map", "put", "prices", "tea", "3.5", "--codec", "json")
		s.ok("--prefix", "x", "map", "put", "prices", "tea", "4.5", "--codec", "json")
		r, url := s.serves("gateway", "-p", "0", "-channels", "prices", "--filters", "stdout_messages")
		require.Contains(t, asks(t, url, "GET prices tea"), "3.5")
		r.out.Await(t, "GET prices tea")
		for _, args := range [][]string{
			{"--prefix", "x", "gateway", "-p", "0", "-channels", "prices"},
			{"gateway", "-p", "0", "-channels", "prices", "-prefix", "x"},
			{"--prefix", "x", "gateway", "-p", "0", "-channels", "prices", "-redis", s.env["REDIS_URL"]},
		} {
			other, url := s.serves(args...)
			require.Contains(t, asks(t, url, "GET prices tea"), "4.5", "%v", args)
			require.Equal(t, exitOK, other.end(), "with a client connected")
		}
		require.Equal(t, exitOK, r.end())
	})
	s := on(t, storagetest.New(t))
	_, url := s.serves("gateway", "-p", "0", "-storage", "memory")
	require.Contains(t, asks(t, url, "GET clock utc"), "time")
}

func TestGatewayRefuses(t *testing.T) {
	t.Parallel()
	s := on(t, storagetest.New(t))
	_, url := s.serves("gateway", "-p", "0", "-storage", "memory")
	port := url[len("ws://localhost:"):]
	for _, c := range []struct {
		status int
		want   string
		args   []string
	}{
		{exitUsage, "unknown flag --chanels: helio gateway --help lists them", []string{"gateway", "--chanels", "a"}},
		{exitUsage, "--url goes before the command: helio --url … gateway", []string{"gateway", "--url", "redis://h"}},
		{exitUsage, "-port: there is no 70000: see helio gateway --help", []string{"gateway", "--port", "70000"}},
		{exitUsage, "-port needs a value: see helio gateway --help", []string{"gateway", "--port"}},
		{exitUsage, `"stray" is not a flag: see helio gateway --help`, []string{"gateway", "stray"}},
		{exitUsage, "--db, and another Redis after gateway: name one", []string{"--db", "1", "gateway", "-storage", "memory"}},
		{exitFailed, "listen tcp 127.0.0.1:" + port + ": bind: address already in use: choose another with helio gateway --port, 0 for any that is free", []string{"gateway", "-p", port}},
		{exitRedis, "no Redis at localhost:1: ", []string{"--port", "1", "gateway"}},
		{exitRedis, "no Redis: dial tcp 127.0.0.1:1: ", []string{"gateway", "-redis", "redis://127.0.0.1:1"}},
		{exitFailed, `Config.Origins[0]: "example.org" is not like `, []string{"gateway", "-p", "0", "-origins", "example.org"}},
	} {
		require.Contains(t, s.fails(c.status, c.args...), c.want, "%v", c.args)
	}
	require.Equal(t, s.ok("gateway", "--help"), s.ok("help", "gateway"))
	require.Contains(t, s.ok("gateway", "-h"), "-channels list\n")
}
