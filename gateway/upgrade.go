package gateway

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/gobwas/httphead"
	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsflate"
)

func gatewayError(err error) error { return fmt.Errorf("gateway: %w", err) }

// ServeHTTP upgrades a request to a WebSocket, answers one that accepts text/event-stream
// with an event stream, or refuses it. A WebSocket lives on after ServeHTTP returns, on a
// goroutine of the handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	upgrade := slices.ContainsFunc(r.Header.Values("Upgrade"), func(v string) bool { return strings.EqualFold(strings.TrimSpace(v), "websocket") })
	events := !upgrade && asksForEvents(r)
	switch {
	case events && r.Method != http.MethodGet:
		h.count.request.Add(1)
		w.Header().Set("Allow", http.MethodGet)
		http.Error(w, "an event stream is requested by GET", http.StatusMethodNotAllowed)
		return
	case events:
	case r.ProtoMajor > 1: // HTTP/2 has no Upgrade header
		h.count.request.Add(1)
		http.Error(w, h.sign()+"; WebSocket over HTTP/2 (RFC 8441) is not supported, use HTTP/1.1", http.StatusHTTPVersionNotSupported)
		return
	case !upgrade:
		h.count.request.Add(1)
		w.Header().Set("Upgrade", "websocket")
		w.Header().Set("Connection", "Upgrade")
		http.Error(w, h.sign(), http.StatusUpgradeRequired)
		return
	}
	if !h.originAllowed(r) {
		h.count.origin.Add(1)
		http.Error(w, "pages of this origin may not connect", http.StatusForbidden)
		return
	}
	address := "" // which is kept only if it is counted
	if h.cfg.Limits.PerAddress > 0 {
		address = h.address(r)
	}
	if status := h.reserve(address); status != http.StatusOK {
		h.count.busy.Add(1)
		w.Header().Set("Retry-After", "5")
		http.Error(w, "too many connections", status)
		return
	}
	entered := true
	defer func() {
		if entered {
			h.unreserve(address)
		}
	}()
	begun := h.elapsed() // whoever is disconnected from now on may have been authenticated before
	principal, ok := h.authenticate(w, r)
	if !ok {
		return
	}
	if events {
		entered = !h.serveEvents(w, r, address, shared(principal), begun)
		return
	}
	c, in, err := h.upgrade(w, r)
	if err != nil {
		h.count.request.Add(1)
		h.log.Debug("gateway: not a WebSocket handshake", "remote", r.RemoteAddr, "error", err)
		return
	}
	c.address, c.connectedAt = address, begun
	c.principal.Store(shared(principal))
	if !h.start(c, r) {
		_ = c.net.Close()
		return
	}
	entered = false // unregister does it
	h.tasks.Go(func() {
		defer h.unregister(c)
		c.read(in)
		c.abort(CloseReason{Code: CloseAbnormal, Text: "the socket was closed"})
	})
}

// authenticate returns the principal of a request, or refuses it.
func (h *Handler) authenticate(w http.ResponseWriter, r *http.Request) (p Principal, ok bool) {
	if h.cfg.Authenticate == nil {
		return p, true
	}
	p, err := h.cfg.Authenticate(r)
	if err == nil {
		err = p.checkExpiry()
	}
	if err == nil {
		return p, true
	}
	h.count.auth.Add(1)
	h.warned.refused.Warn(h.log, "gateway: Config.Authenticate refused a client", "remote", r.RemoteAddr, "error", err)
	status := http.StatusUnauthorized
	if errors.Is(err, ErrForbidden) {
		status = http.StatusForbidden
	}
	http.Error(w, http.StatusText(status), status)
	return p, false
}

var anonymous Principal

// shared returns a pointer to a principal: those without a name, expiry and data are one.
func shared(p Principal) *Principal {
	if p.Name == "" && p.Expires.IsZero() && p.Data == nil {
		return &anonymous
	}
	return &p
}

// start registers a connection, calls the Connect hooks and sends what comes first. It
// reports false if the handler is closed.
func (h *Handler) start(c *Conn, r *http.Request) bool {
	if !h.register(c) {
		return false
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), h.cfg.Limits.Command)
	defer cancel()
	defer context.AfterFunc(h.ctx, cancel)()
	if h.isDisconnected(c) {
		c.disconnect()
		return true
	}
	h.begin(ctx, c, r)
	if h.isDraining() { // Shutdown may have missed this connection
		c.closeForRestart()
	}
	return true
}

// sign returns a line for a request that is not a WebSocket's, such as a browser's.
func (h *Handler) sign() string {
	line := "this is a WebSocket endpoint: connect with new WebSocket(url)"
	for _, p := range h.cfg.Protocols {
		if name := p.Name(); name != "" {
			line += ", or new WebSocket(url, " + strconv.Quote(name) + ")"
		}
	}
	return line + "; or GET ?sub=channel with Accept: text/event-stream"
}

// begin sends the status open and accepts the connection if no Connect hook refuses it:
// until then it is not among Conns, so that it gets no broadcasts.
func (h *Handler) begin(ctx context.Context, c *Conn, r *http.Request) {
	if !h.hooked(func(hooks *Hooks) bool { return hooks.Connect != nil }) {
		h.accept(c) // first, for clients that wait for the status
	}
	c.status(map[string]any{"status": "open"}, nil)
	if h.runConnectHooks(ctx, c, r) {
		h.accept(c)
	}
}

func (h *Handler) accept(c *Conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.conns[c] = true
}

// runConnectHooks calls the Connect hooks until one refuses the connection, and reports
// whether none did.
func (h *Handler) runConnectHooks(ctx context.Context, c *Conn, r *http.Request) bool {
	for i := range h.cfg.Hooks {
		connect := h.cfg.Hooks[i].Connect
		if connect == nil {
			continue
		}
		var err error
		if !c.guard("hook connect", func() { err = connect(ctx, c, r) }) {
			return false
		}
		if err != nil {
			if unavailable(err) {
				h.warned.unavailable.Warn(h.log, "gateway: Redis does not answer", "hook", "connect", "error", err)
				c.Close(CloseTryAgain, "not available now")
				return false
			}
			h.warned.refused.Warn(c.log(), "gateway: a hook refused a connection", "hook", "connect", "error", err)
			c.Close(CloseRefused, "refused")
			return false
		}
	}
	return true
}

// upgrade does the WebSocket handshake. in reads from the client.
func (h *Handler) upgrade(w http.ResponseWriter, r *http.Request) (c *Conn, in io.Reader, err error) {
	var deflate wsflate.Extension
	upgrader := ws.HTTPUpgrader{Timeout: h.cfg.Limits.Handshake}
	v := 0 // of h.variants
	upgrader.Protocol = func(name string) bool {
		i := slices.IndexFunc(h.cfg.Protocols, func(p Protocol) bool { return p.Name() == name && name != "" })
		if i >= 0 {
			v = variants * i
		}
		return i >= 0
	}
	if h.cfg.Compression {
		deflate.Parameters = wsflate.DefaultParameters
		upgrader.Negotiate = func(offer httphead.Option) (httphead.Option, error) {
			accepted, err := deflate.Negotiate(offer)
			if err != nil { // RFC 7692: decline an offer that isn't understood
				return httphead.Option{}, nil
			}
			return accepted, nil
		}
	}
	conn, rw, _, err := upgrader.Upgrade(r, w)
	if err != nil {
		if conn != nil {
			_ = conn.Close()
		}
		return nil, nil, err
	}
	if _, deflated := deflate.Accepted(); deflated {
		v += deflateVariant
	}
	c = &Conn{h: h, id: h.next.Add(1), remote: r.RemoteAddr, net: conn, direct: newDirect(conn), v: &h.variants[v]}
	return c, unread(rw.Reader, conn), nil
}

// unread returns a reader of what the HTTP server has not read, without its buffers of
// four kilobytes each.
func unread(r *bufio.Reader, conn net.Conn) io.Reader {
	n := r.Buffered()
	if n == 0 {
		return conn
	}
	first, _ := r.Peek(n)
	return io.MultiReader(strings.NewReader(string(first)), conn)
}

// reserve counts a connection before it is made, or returns the status by which it is
// refused.
func (h *Handler) reserve(address string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	l := &h.cfg.Limits
	switch {
	case h.draining, int(h.open.Load()) >= l.Connections:
		return http.StatusServiceUnavailable
	case l.PerAddress > 0 && h.addresses[address] >= l.PerAddress:
		return http.StatusTooManyRequests
	case l.AcceptRate > 0 && !h.accepts.take(h.elapsed(), 1, l.AcceptRate, float64(l.AcceptBurst)):
		return http.StatusServiceUnavailable
	}
	h.open.Add(1)
	if l.PerAddress > 0 {
		h.addresses[address]++
	}
	return http.StatusOK
}

// unreserve undoes reserve.
func (h *Handler) unreserve(address string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.open.Add(-1) == 0 && h.gone != nil {
		close(h.gone)
		h.gone = nil
	}
	if h.cfg.Limits.PerAddress > 0 {
		h.addresses[address]--
		if h.addresses[address] <= 0 {
			delete(h.addresses, address)
		}
	}
}

// register adds a connection, and starts the sweeper with the first. It reports false
// if the handler is closed.
func (h *Handler) register(c *Conn) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed != nil {
		return false
	}
	if !h.sweeping {
		h.sweeping = true
		h.clock.Store(h.elapsed())
		h.tasks.Go(h.sweep)
	}
	now := h.now()
	c.lastMessage.Store(now)
	c.nextPing = now + h.jittered()
	h.conns[c] = false
	h.count.accepted.Add(1)
	return true
}

// unregister removes a connection that has ended.
func (h *Handler) unregister(c *Conn) {
	c.leaveAll()
	c.mu.Lock()
	reason := c.reason
	c.mu.Unlock()
	for i := range h.cfg.Hooks {
		if hook := h.cfg.Hooks[i].Disconnect; hook != nil {
			ctx, cancel := context.WithTimeout(context.Background(), h.cfg.Limits.Command)
			c.guard("hook disconnect", func() { hook(ctx, c, reason) })
			cancel()
		}
	}
	h.mu.Lock()
	delete(h.conns, c)
	h.mu.Unlock()
	h.unreserve(c.address)
}

// address returns the address that a request is counted for.
func (h *Handler) address(r *http.Request) string {
	if h.cfg.Address != nil {
		return h.cfg.Address(r)
	}
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	host := at.Addr().Unmap().WithZone("")
	if host.Is6() {
		network, _ := host.Prefix(64) // 64 bits are valid for IPv6
		return network.String()
	}
	return host.String()
}

// originAllowed reports whether the page that sends the request may connect.
func (h *Handler) originAllowed(r *http.Request) bool {
	values := r.Header.Values("Origin")
	switch {
	case h.cfg.InsecureAnyOrigin:
		return true
	case len(values) == 0:
		return h.siteAllowed(r)
	}
	u, err := url.Parse(values[0])
	if len(values) > 1 || err != nil || u.Host == "" {
		return false
	}
	if len(h.cfg.Origins) == 0 {
		return strings.EqualFold(u.Host, r.Host)
	}
	return slices.ContainsFunc(h.cfg.Origins, func(allowed string) bool { return originMatches(allowed, u) })
}

// siteAllowed reports whether the page that sends a request without an Origin may connect.
// Browsers leave it out for GETs of event streams by the host's own pages, and for those of
// which the page sees nothing, such as those of images: only Sec-Fetch-Site tells these
// apart. A request without either header is not from a browser's page.
func (h *Handler) siteAllowed(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "none":
		return true
	case "same-origin":
		return len(h.cfg.Origins) == 0 || slices.ContainsFunc(h.cfg.Origins, func(allowed string) bool {
			scheme, _, _ := strings.Cut(allowed, "://")
			return originMatches(allowed, &url.URL{Scheme: scheme, Host: r.Host})
		})
	}
	return false
}

// originMatches reports whether an origin is the allowed one, whose first label may be
// *.
func originMatches(allowed string, origin *url.URL) bool {
	scheme, host, _ := strings.Cut(allowed, "://")
	if !strings.EqualFold(scheme, origin.Scheme) {
		return false
	}
	got := withPort(origin.Scheme, origin.Host)
	want := withPort(scheme, host)
	if parent, ok := strings.CutPrefix(want, "*."); ok {
		label, rest, _ := strings.Cut(got, ".")
		return label != "" && strings.EqualFold(rest, parent)
	}
	return strings.EqualFold(got, want)
}

var ports = map[string]int{"http": 80, "https": 443}

func withPort(scheme, host string) string {
	if _, _, err := net.SplitHostPort(host); err != nil && ports[strings.ToLower(scheme)] > 0 {
		return host + ":" + strconv.Itoa(ports[strings.ToLower(scheme)])
	}
	return host
}
