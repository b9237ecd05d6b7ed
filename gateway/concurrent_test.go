package gateway_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/gateway"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// A concurrent command does not delay those that come after it, and ends with CANCEL, with
// its connection, or by itself.
func TestConcurrentCommands(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 10)
	release := make(chan struct{})
	cfg := anything
	cfg.Limits.Running, cfg.Limits.Command = 2, time.Millisecond
	cfg.Commands = map[string]gateway.Command{
		"HOLD": {Concurrent: true, Run: func(ctx context.Context, c *gateway.Conn, r gateway.Request) error {
			if err := c.Reply(r, "hold", "held"); err != nil {
				return err
			}
			select {
			case <-release:
				ended <- nil
				return c.Reply(r, "hold", "released")
			case <-ctx.Done():
				ended <- ctx.Err()
				return ctx.Err()
			}
		}},
		"FAIL": {Concurrent: true, Run: func(context.Context, *gateway.Conn, gateway.Request) error {
			return gateway.Errorf("out_of_ink", "buy some")
		}},
	}
	h, url := serve(t, storagetest.New(t), cfg)
	b := open(t, url, "heliograph.json.v1")
	b.send(`{"id": 1, "command": "HOLD"}`)
	require.JSONEq(t, `{"type": "value", "id": 1, "source": "hold", "content": "held"}`, b.raw())
	b.send(`{"id": 2, "command": "PING"}`)
	require.Contains(t, b.raw(), "PONG")
	require.JSONEq(t, `{"type": "done", "id": 2}`, b.raw())

	b.send(`{"id": 1, "command": "HOLD"}`)
	require.Contains(t, b.raw(), "a command with this id runs already")
	b.send(`{"id": "two", "command": "HOLD"}`)
	require.Contains(t, b.raw(), "held")
	b.send(`{"id": 3, "command": "HOLD"}`)
	require.Contains(t, b.raw(), `"code":"too_many"`)

	b.send(`{"id": 4, "command": "CANCEL", "args": ["two"]}`)
	first, second := b.raw(), b.raw() // in any order
	require.Contains(t, first+second, `{"type":"error","id":"two","code":"cancelled","message":"cancelled"}`)
	require.Contains(t, first+second, `{"type":"done","id":4}`)
	require.ErrorIs(t, <-ended, context.Canceled)
	b.send(`{"id": 5, "command": "FAIL"}`)
	require.Contains(t, b.raw(), `"code":"out_of_ink"`)

	release <- struct{}{}
	require.NoError(t, <-ended)
	require.Contains(t, b.raw(), "released")
	require.JSONEq(t, `{"type": "done", "id": 1}`, b.raw())

	b.send(`{"id": 6, "command": "HOLD"}`)
	require.Contains(t, b.raw(), "held")
	require.NoError(t, b.conn.CloseNow())
	require.ErrorIs(t, <-ended, context.Canceled, "with the connection")
	require.Eventually(t, func() bool { return len(h.Conns()) == 0 }, patience, time.Millisecond)

	b = open(t, url)
	b.send("HOLD client_ref=7")
	require.Equal(t, gateway.CodeBadCommand, b.fails(), "an option that it does not take")
	b.send("HELP")
	require.Contains(t, string(b.status().Content), "CANCEL id")
	b.send("HOLD")
	require.Equal(t, `"held"`, b.from("hold"))
	require.NoError(t, h.Close())
	require.ErrorIs(t, <-ended, context.Canceled, "with the handler")
}

func TestConcurrentExcludesQuery(t *testing.T) {
	t.Parallel()
	_, err := gateway.New(storagetest.New(t), gateway.Config{Commands: map[string]gateway.Command{"A": {Run: idle, Concurrent: true, Query: true}}})
	require.ErrorContains(t, err, `Config.Commands["A"].Concurrent`)
}
