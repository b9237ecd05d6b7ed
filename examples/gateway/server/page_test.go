package server_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/internal/chromium"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// on begins JavaScript that does something with the row of a source.
func on(source string) string {
	return `((row = document.querySelector('tr[data-source="` + source + `"]')) => `
}

// count is how many messages the page says that it had from a source.
func count(source string) string {
	return on(source) + `row ? Number(row.cells[1].textContent) : 0)()`
}

// last is what the page shows of the last one.
func last(source string) string {
	return on(source) + `row ? row.cells[3].textContent : "")()`
}

func TestThePageIsLive(t *testing.T) {
	t.Parallel()
	storagetest.Long(t)
	p := chromium.Start(t)
	g := start(t)
	p.Navigate(g.http)
	p.Await(`document.getElementById("state").className === "open"`)
	p.Await(count("clock") + " >= 3")
	p.Await(count("trains") + " >= 15")
	p.Await("JSON.parse(" + last("trains") + ").geometry.type === 'Point'")
	p.Await(`Number(document.getElementById("rate").textContent) > 0`)

	click := func(button, name string) {
		p.Eval(`document.getElementById("name").value = ` + name)
		p.Eval(`[...document.querySelectorAll("button")].find(b => b.textContent === "` + button + `").click()`)
	}
	say := func(line string) {
		p.Eval(`document.getElementById("line").value = '` + line + `'`)
		p.Eval(`document.getElementById("command").requestSubmit()`)
	}
	click("PING", `""`)
	p.Await(last("websocket") + ` === "PONG"`)
	answers := string(p.Eval(count("websocket")))
	click("DEL", `"clock"`)
	click("PING", `""`)
	p.Await(count("websocket") + " > " + answers)
	before := string(p.Eval(count("trains")))
	clock := string(p.Eval(count("clock")))
	p.Await(count("trains") + " >= 10 + " + before)
	require.Equal(t, clock, string(p.Eval(count("clock"))), "no longer followed")
	click("GET", `'a "name" of its own'`)
	p.Await(last(`a \\"name\\" of its own`) + ` === "null"`)
	say("HELP")
	p.Await(last("websocket") + `.includes("SUB channel")`)

	say("NONSENSE <b>x</b>")
	p.Await(last("error") + `.includes("NONSENSE · bad_command · ")`)
	require.JSONEq(t, `"1"`, string(p.Eval(`document.getElementById("errors").textContent`)))
	require.NotEqual(t, p.Eval(on("trains")+`getComputedStyle(row.cells[3]).color)()`), p.Eval(on("error")+`getComputedStyle(row.cells[3]).color)()`), "it is red")
	key := func(name string) string {
		return string(p.Eval(`(line => { line.dispatchEvent(new KeyboardEvent("keydown", {key: "` + name + `"})); return line.value })(document.getElementById("line"))`))
	}
	require.Equal(t, `"NONSENSE <b>x</b>"`, key("ArrowUp"))
	require.Equal(t, `"HELP"`, key("ArrowUp"))
	require.Equal(t, `"NONSENSE <b>x</b>"`, key("ArrowDown"))
	require.Equal(t, `""`, key("ArrowDown"))
	p.Screenshot(filepath.Join(t.ArtifactDir(), "page.png"))

	g.stop()
	require.Zero(t, <-g.status)
	p.Await(`document.getElementById("state").className === "closed"`)
	require.JSONEq(t, `true`, string(p.Eval(`[...document.querySelectorAll("button")].every(b => b.disabled)`)))
}

// A page goes on where it was when the gateway is there again.
func TestThePageComesBack(t *testing.T) {
	t.Parallel()
	storagetest.Long(t)
	p := chromium.Start(t)
	port := storagetest.FreePort(t)
	g := start(t, "-p", port)
	p.Navigate(g.http)
	p.Await(count("clock") + " >= 1")
	g.stop()
	p.Await(`document.getElementById("state").className === "closed"`)
	before := string(p.Eval(count("clock")))
	start(t, "-p", port)
	p.Await(count("clock") + " > 2 + " + before)
}

func TestThePageOfThePlainProtocol(t *testing.T) {
	t.Parallel()
	storagetest.Long(t)
	p := chromium.Start(t)
	g := start(t, "-filters", "broadcast_messages")
	p.Navigate(g.http)
	p.Await(`document.getElementById("state").className === "open"`)
	require.JSONEq(t, `0`, string(p.Eval(`document.getElementById("byname").offsetHeight`)), "there are no commands")
	b := dial(t, g.ws)
	b.send("<i>hello</i>")
	p.Await(last("message") + ` === "<i>hello</i>"`)
	p.Eval(`document.getElementById("line").value = "hello yourself"`)
	p.Eval(`document.getElementById("command").requestSubmit()`)
	b.hears("hello yourself")
}
