// Package chromium shows pages to a headless Chromium, for tests of what runs in
// browsers.
//
//	p := chromium.Start(t)
//	p.Navigate(url)
//	p.Await(`document.title === "ready"`)
package chromium

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// patience bounds whatever a test waits for.
const patience = 60 * time.Second

// Page is a page of a browser of its own.
type Page struct {
	tb   testing.TB
	conn *websocket.Conn
	id   int // of the last command
}

// Start runs a browser that ends with the test, and believes in every certificate.
// Where there is none the test is
// skipped or, with HELIOGRAPH_REDIS=required, fails.
func Start(tb testing.TB) *Page {
	tb.Helper()
	dir, err := os.MkdirTemp("", "chromium")
	must(tb, err)
	// Not tb.TempDir: a process of the browser may outlive it by a moment and write.
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	cmd := exec.Command(find(tb), "--headless", "--remote-debugging-port=0", "--user-data-dir="+dir, "--window-size=1100,700",
		"--disable-gpu", "--disable-dev-shm-usage", "--disable-extensions", "--no-first-run", "--hide-scrollbars", "--ignore-certificate-errors", "about:blank")
	if os.Geteuid() == 0 {
		cmd.Args = append(cmd.Args, "--no-sandbox") // which does not work for root
	}
	out, in := io.Pipe()
	cmd.Stderr, cmd.WaitDelay = in, 10*time.Second
	must(tb, cmd.Start())
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // for its children as well: they have the pipe
		_ = in.Close()
		close(ended)
	}()
	tb.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
	})
	p := &Page{tb: tb, conn: dial(tb, out)}
	tb.Cleanup(func() { // first of all, and politely: a browser that is killed leaves children
		p.quit(ended)
	})
	return p
}

// find returns the path of a browser.
func find(tb testing.TB) string {
	tb.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if os.Getenv("HELIOGRAPH_REDIS") == "required" {
		tb.Fatal("no chromium on the PATH, and HELIOGRAPH_REDIS=required")
	}
	tb.Skip("no chromium on the PATH")
	return ""
}

// dial connects to the page that the browser has open. It says on stderr where.
func dial(tb testing.TB, stderr io.Reader) *websocket.Conn {
	tb.Helper()
	where := make(chan string, 1)
	go func() {
		lines := bufio.NewScanner(stderr)
		for lines.Scan() {
			if _, at, ok := strings.Cut(lines.Text(), "DevTools listening on "); ok {
				where <- at
			}
		}
		close(where)
		_, _ = io.Copy(io.Discard, stderr) // what was no line
	}()
	var at string
	select {
	case at = <-where:
	case <-time.After(patience):
	}
	u, err := url.Parse(at)
	if err != nil || u.Host == "" {
		tb.Fatalf("chromium does not say where it listens: %q", at)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+u.Host+"/json/list", nil)
	must(tb, err)
	transport := &http.Transport{DisableKeepAlives: true}
	resp, err := transport.RoundTrip(req)
	must(tb, err)
	defer resp.Body.Close()
	var targets []struct{ Type, WebSocketDebuggerURL string }
	must(tb, json.NewDecoder(resp.Body).Decode(&targets))
	for _, t := range targets {
		if t.Type == "page" {
			conn, _, err := websocket.Dial(ctx, t.WebSocketDebuggerURL, nil)
			must(tb, err)
			conn.SetReadLimit(64 << 20) // a picture
			return conn
		}
	}
	tb.Fatalf("chromium has no page among %+v", targets)
	return nil
}

// quit has the browser end.
func (p *Page) quit(ended chan struct{}) {
	defer p.conn.CloseNow()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = p.conn.Write(ctx, websocket.MessageText, []byte(`{"id": 0, "method": "Browser.close"}`))
	select {
	case <-ended:
	case <-ctx.Done():
	}
}

// Navigate opens a URL, and returns when its page is loaded.
func (p *Page) Navigate(url string) {
	p.tb.Helper()
	var went struct{ ErrorText string }
	p.call("Page.navigate", map[string]any{"url": url}, &went)
	if went.ErrorText != "" {
		p.tb.Fatalf("%s: %s", url, went.ErrorText)
	}
	p.Await("document.readyState === 'complete' && location.href !== 'about:blank'")
}

// Eval evaluates JavaScript in the page, and returns its value as JSON, having
// waited if it is a promise. Nil: undefined.
func (p *Page) Eval(js string) json.RawMessage {
	p.tb.Helper()
	var out struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails *struct {
			Text      string
			Exception struct{ Description string }
		}
	}
	p.call("Runtime.evaluate", map[string]any{"expression": js, "returnByValue": true, "awaitPromise": true}, &out)
	if e := out.ExceptionDetails; e != nil {
		p.tb.Fatalf("%s: %s %s", js, e.Text, e.Exception.Description)
	}
	return out.Result.Value
}

// Await returns when JavaScript has become true.
func (p *Page) Await(js string) {
	p.tb.Helper()
	for deadline := time.Now().Add(patience); string(p.Eval("!!("+js+")")) != "true"; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			p.tb.Fatalf("not within %v: %s\n%s", patience, js, p.Eval("document.body.innerText"))
		}
	}
}

// Screenshot writes what the page looks like to a PNG file.
func (p *Page) Screenshot(path string) {
	p.tb.Helper()
	var shot struct{ Data string }
	p.call("Page.captureScreenshot", map[string]any{"format": "png"}, &shot)
	png, err := base64.StdEncoding.DecodeString(shot.Data)
	must(p.tb, err)
	must(p.tb, os.WriteFile(path, png, 0o644))
}

// call has the browser do something, and reads what comes of it into result, if
// that is not nil. See https://chromedevtools.github.io/devtools-protocol/.
func (p *Page) call(method string, params map[string]any, result any) {
	p.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	p.id++
	data, err := json.Marshal(map[string]any{"id": p.id, "method": method, "params": params})
	must(p.tb, err)
	must(p.tb, p.conn.Write(ctx, websocket.MessageText, data))
	for {
		_, data, err := p.conn.Read(ctx)
		must(p.tb, err)
		var answer struct {
			ID     int
			Result json.RawMessage
			Error  *struct{ Message string }
		}
		must(p.tb, json.Unmarshal(data, &answer))
		switch {
		case answer.ID != p.id: // an event
			continue
		case answer.Error != nil:
			p.tb.Fatalf("%s: %s", method, answer.Error.Message)
		case result != nil:
			must(p.tb, json.Unmarshal(answer.Result, result))
		}
		return
	}
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}
