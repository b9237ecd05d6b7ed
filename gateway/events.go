package gateway

import (
	"bytes"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/heliograph/heliograph/pubsub"
)

// An event stream is a connection whose client reads server-sent events over plain HTTP and
// sends nothing. Its commands are in the query of the request, and what a protocol makes
// of a frame is the data of one event.

// eventNames are the names of the events that are not messages.
var eventNames = map[Kind]string{KindStatus: "status", KindError: "failure"}

var lineEnds = strings.NewReplacer("\r\n", "\n", "\r", "\n")

// appendEvent writes an event.
func appendEvent(dst []byte, name string, data []byte) []byte {
	if name != "" {
		dst = append(append(append(dst, "event: "...), name...), '\n')
	}
	text := string(bytes.ToValidUTF8(data, []byte("\uFFFD")))
	if strings.Contains(text, "\r") {
		text = lineEnds.Replace(text)
	}
	for line := range strings.SplitSeq(text, "\n") {
		dst = append(append(append(dst, "data: "...), line...), '\n')
	}
	return append(dst, '\n')
}

// heartbeat is a comment, which clients ignore.
var heartbeat = []byte(": ping\n\n")

// closeFrame returns what ends a connection.
func (v *variant) closeFrame(reason CloseReason) []byte {
	if !v.events {
		return reason.frame()
	}
	if !reason.Code.sendable() {
		reason = CloseReason{Code: 1005} // what a WebSocket's client sees of it
	}
	data := strconv.AppendUint([]byte(`{"code": `), uint64(reason.Code), 10)
	data = appendString(append(data, `, "reason": `...), reason.Text)
	return appendEvent(nil, "close", append(data, '}'))
}

// eventIDs makes the ids of an event stream. An id is the offset of each SUB's channel, in
// their order, between commas; empty where there is none. Only the writer uses it.
type eventIDs struct{ channels, offsets []string }

// line returns the line with the id of the next event, which comes with an offset of a
// channel; nil: it has none.
func (ids *eventIDs) line(channel, offset string) []byte {
	i := slices.Index(ids.channels, channel)
	if i < 0 || offset == "" {
		return nil
	}
	ids.offsets[i] = offset
	return []byte("id: " + strings.Join(ids.offsets, ",") + "\n")
}

// asksForEvents reports whether a request is one for an event stream.
func asksForEvents(r *http.Request) bool {
	for _, list := range r.Header.Values("Accept") {
		for kind := range strings.SplitSeq(list, ",") {
			kind, _, _ = strings.Cut(kind, ";")
			if strings.EqualFold(strings.TrimSpace(kind), "text/event-stream") {
				return true
			}
		}
	}
	return false
}

// query is what the query of an event stream asks for.
type query struct {
	variant  int // of Handler.variants
	requests []Request
	ids      eventIDs
}

// parseQuery reads the query of an event stream: the commands with Command.Query, in their
// order, and after them the SUBs, so that their values and messages go through the filters.
func (h *Handler) parseQuery(r *http.Request) (q query, _ *Error) {
	if n := len(r.URL.RawQuery); n > h.cfg.Limits.Message {
		return q, errorf(CodeTooLarge, "the query has %d bytes; %d are allowed", n, h.cfg.Limits.Message)
	}
	var subs []Request
	q.variant = eventsVariant          // of the first protocol
	options := make(map[string]string) // of all SUBs without options
	for pair := range strings.SplitSeq(r.URL.RawQuery, "&") {
		name, value, _ := strings.Cut(pair, "=")
		name, err1 := url.QueryUnescape(name)
		value, err2 := url.QueryUnescape(value)
		if err1 != nil || err2 != nil || !utf8.ValidString(name+value) {
			return q, errorf(CodeBadCommand, "the query is not encoded as in a URL, or not UTF-8")
		}
		command := strings.ToUpper(name)
		switch {
		case h.commands[command].Query:
			request, err := Text.Parse([]byte(command+" "+value), h.cfg.Limits.Args)
			if err == nil {
				err = h.check(&request, h.commands[command])
			}
			if err != nil {
				return q, errorf(CodeBadCommand, "%s: %s", name, err.(*Error).Text)
			}
			if command == "SUB" {
				subs = append(subs, request)
			} else {
				q.requests = append(q.requests, request)
			}
		case slices.Contains(h.commands["SUB"].Options, name):
			options[name] = value
		case name == "protocol":
			i := slices.IndexFunc(h.cfg.Protocols, func(p Protocol) bool { return p.Name() == value })
			if i < 0 {
				return q, errorf(CodeBadCommand, "there is no protocol %s", quoteName(value))
			}
			q.variant = i*variants + eventsVariant
		}
	}
	if len(subs) == 0 && !h.hooked(func(hooks *Hooks) bool { return hooks.Connect != nil }) {
		return q, errorf(CodeBadCommand, "nothing to follow: ?sub=channel is missing")
	}
	if n := len(subs); n > h.cfg.Limits.Channels {
		return q, errorf(CodeTooMany, "%d channels; %d are allowed", n, h.cfg.Limits.Channels)
	}
	return q, q.addSubs(subs, options, r.Header.Get("Last-Event-ID"))
}

// addSubs appends the SUBs. What last tells, the id of the last event that the client has
// got, replaces options that say where to begin, but no snapshot: that has all of it.
func (q *query) addSubs(subs []Request, options map[string]string, last string) *Error {
	offsets := make([]string, len(subs))
	if last != "" {
		offsets = strings.Split(last, ",")
	}
	if len(offsets) != len(subs) {
		return errorf(CodeBadCommand, "Last-Event-ID: %d offsets for %d channels", len(offsets), len(subs))
	}
	for i, r := range subs {
		if len(r.Options) == 0 {
			r.Options = make(map[string]string)
			for name, value := range options {
				r.Options[name] = value
			}
		}
		if offsets[i] != "" && r.Options["snapshot"] != "1" {
			delete(r.Options, "rewind")
			r.Options["since"] = offsets[i]
		}
		r.Options["ack"] = "1" // a client can't ask otherwise whether it follows
		if slices.Contains(q.ids.channels, r.Args[0]) {
			return errorf(CodeBadCommand, "%s is there twice", quoteName(r.Args[0]))
		}
		since, err := pubsub.ParseOffset(r.Options["since"])
		if err != nil { // SUB will refuse it; nothing else may get into an id
			since = ""
		}
		q.ids.channels = append(q.ids.channels, r.Args[0])
		q.ids.offsets = append(q.ids.offsets, string(since))
		q.requests = append(q.requests, r)
	}
	return nil
}
