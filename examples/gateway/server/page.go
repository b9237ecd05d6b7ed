package server

import (
	"bytes"
	_ "embed"
	"html/template"
	"net/http"
	"strings"
	"time"

	"github.com/heliograph/heliograph/gateway"
)

//go:embed index.html
var indexHTML string

var index = template.Must(template.New("index").Parse(indexHTML))

// page answers WebSocket requests on every path by the handler, and others by a page
// that opens a WebSocket.
type page struct {
	gateway *gateway.Handler
	Plain   bool     // clients send no commands
	Follow  []string // channels that the page follows at once
}

// ServeHTTP passes requests for a WebSocket or an event stream, on every path, to the
// handler, and answers others
// with a page that opens one.
func (p page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case strings.EqualFold(r.Header.Get("Upgrade"), "websocket"), strings.Contains(r.Header.Get("Accept"), "text/event-stream"):
		p.gateway.ServeHTTP(w, r)
	case r.URL.Path != "/":
		http.NotFound(w, r)
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "a page, or a WebSocket", http.StatusMethodNotAllowed)
	default:
		var out bytes.Buffer
		if err := index.Execute(&out, p); err != nil {
			http.Error(w, "no page", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Security-Policy", "default-src 'none'; connect-src 'self' ws: wss:; script-src 'unsafe-inline'; style-src 'unsafe-inline'; frame-ancestors 'none'")
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(out.Bytes()))
	}
}
