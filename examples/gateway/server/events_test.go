package server_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/internal/chromium"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// A page that only reads needs an EventSource. It connects again by itself when the gateway
// has stopped and is there again.
func TestAnEventSourceInABrowser(t *testing.T) {
	t.Parallel()
	storagetest.Long(t)
	p := chromium.Start(t)
	port := storagetest.FreePort(t)
	g := start(t, "-p", port)
	p.Navigate(g.http)
	p.Eval(fmt.Sprintf(`(() => {
		window.seen = {message: 0, status: [], close: [], failure: []}
		window.source = new EventSource(%q)
		source.onmessage = e => { if (JSON.parse(e.data).source === "clock") seen.message++ }
		for (const name of ["status", "close", "failure"]) source.addEventListener(name, e => seen[name].push(e.data))
	})()`, strings.Replace(g.ws, "ws", "http", 1)+"?sub=clock"))
	p.Await(`seen.message >= 2`)
	require.JSONEq(t, `1`, string(p.Eval(`source.readyState`)))
	p.Await(`seen.status.length === 2 && seen.status[1].includes('"subscribed"')`)

	g.stop()
	require.Zero(t, <-g.status)
	p.Await(`seen.close.length === 1 && JSON.parse(seen.close[0]).code === 1012`)
	p.Eval(`seen.message = 0`)
	start(t, "-p", port)
	p.Await(`seen.message >= 2`)

	p.Eval(fmt.Sprintf(`window.refused = new EventSource(%q)`, strings.Replace(g.ws, "ws", "http", 1)+"?sub=__sentinel"))
	p.Await(`refused.readyState === EventSource.CLOSED`)
	require.JSONEq(t, `[]`, string(p.Eval(`seen.failure`)))
}
