package gateway

import (
	"bytes"
	"encoding/json"
	"slices"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

// Message is a message of a channel, or a value of a hash, on its way to clients. Many
// connections use it at once: it must not be modified once a filter or hook has returned
// it.
type Message struct {
	// Name is the channel, or the key.
	Name string
	// Source is the source that clients see: the Name, or "key ref" for one field.
	Source string
	// Content is valid JSON in valid UTF-8. It must not be modified; use With.
	Content json.RawMessage
	// Offset is the place in the channel's history. Empty: there is none.
	Offset string
	// Time is when the gateway received it.
	Time time.Time

	kind Kind            // KindPublication, KindValue or, of a gap, KindStatus
	raw  []byte          // Frame.Raw
	ref  json.RawMessage // Frame.Ref, for KindValue
	seq  int64           // Publication.seq

	mu     sync.Mutex
	memos  []memo
	frames []*frame
}

// memo is a value that is made when it is first needed.
type memo struct {
	key   any
	value func() any
}

// frame is a message compiled for one variant, when it is first needed.
type frame struct {
	v    *variant
	once sync.Once
	data []byte
}

// variant is what connections have in common that get the same bytes for the same
// message.
type variant struct {
	h        *Handler // handles a panic of the protocol
	protocol Protocol
	deflate  bool
	events   bool // server-sent events, not WebSocket frames
}

// The variants of a protocol, in Handler.variants: those of a WebSocket, without
// compression and with, and that of an event stream.
const (
	deflateVariant = 1
	eventsVariant  = 2
	variants       = 3
)

// messageBytes is what a message counts in Limits.LogBytes beside its content.
const messageBytes = 256

func (m *Message) size() int { return len(m.Content) + len(m.raw) + messageBytes }

// newMessage makes a message of data from Redis. What isn't JSON becomes a string.
func newMessage(name, source string, data []byte) *Message {
	m := &Message{Name: name, Source: source, Time: time.Now()}
	m.Content, m.raw = content(data)
	return m
}

// content returns data as JSON in UTF-8, and the original if it wasn't JSON.
func content(data []byte) (content json.RawMessage, raw []byte) {
	switch {
	case !json.Valid(data):
		return appendString(nil, string(data)), data
	case !utf8.Valid(data):
		return bytes.ToValidUTF8(data, []byte("\uFFFD")), nil
	}
	return data, nil
}

// With returns a copy with another content, which must be valid JSON. The copy has no
// memos.
func (m *Message) With(content json.RawMessage) *Message {
	return &Message{Name: m.Name, Source: m.Source, Content: content, Offset: m.Offset, Time: m.Time, kind: m.kind, ref: m.ref, seq: m.seq}
}

// withRef returns a copy that answers a request.
func (m *Message) withRef(ref json.RawMessage) *Message {
	c := m.With(m.Content)
	c.raw, c.ref = m.raw, ref
	return c
}

// Memo returns what make returned when Memo was first called with key for this message.
// Filters of many connections share by it what is the same for all of them, such as the
// parsed message. Calls for the same key wait for the first; make may call Memo with
// other keys. If make panics, so does every call for the key.
func (m *Message) Memo(key any, make func() any) any {
	m.mu.Lock()
	i := slices.IndexFunc(m.memos, func(known memo) bool { return known.key == key })
	if i < 0 {
		i = len(m.memos)
		m.memos = append(m.memos, memo{key, sync.OnceValue(make)})
	}
	value := m.memos[i].value
	m.mu.Unlock()
	return value()
}

// compiled returns a message as it is sent for a variant. Empty: the protocol sends
// nothing.
func (m *Message) compiled(v *variant) []byte {
	m.mu.Lock()
	i := slices.IndexFunc(m.frames, func(f *frame) bool { return f.v == v })
	if i < 0 {
		i = len(m.frames)
		m.frames = append(m.frames, &frame{v: v})
	}
	f := m.frames[i]
	m.mu.Unlock()
	f.once.Do(func() {
		f.data = compile(v, &Frame{Kind: m.kind, Source: m.Source, Content: m.Content, Raw: m.raw, Ref: m.ref, Time: m.Time, Offset: m.Offset})
	})
	return f.data
}

// compile returns f as a WebSocket frame, or as an event.
func compile(v *variant, f *Frame) []byte {
	const room = 10 // for the header, whose length is known at the end
	var payload []byte
	v.h.guard("protocol", func() { payload = v.protocol.Append(make([]byte, room, room+192+len(f.Content)), f) })
	empty := f.Kind == KindBroadcast && len(f.Content) == 0 // a message of its own, unlike what a protocol leaves out
	if len(payload) < room || len(payload) == room && !empty {
		return nil
	}
	if v.events {
		return appendEvent(nil, eventNames[f.Kind], payload[room:])
	}
	h := ws.Header{Fin: true, OpCode: ws.OpText}
	if (f.Kind == KindBroadcast || f.Raw != nil) && !utf8.Valid(payload[room:]) {
		h.OpCode = ws.OpBinary
	}
	if v.deflate {
		if packed := deflated(payload[room:]); packed != nil {
			h.Rsv = ws.Rsv(true, false, false)
			payload = append(payload[:room], packed...)
		}
	}
	h.Length = int64(len(payload) - room)
	at := room - ws.HeaderSize(h)
	var w headerWriter = payload[at:at]
	_ = ws.WriteHeader(&w, h) // headerWriter doesn't fail
	return payload[at:]
}

// headerWriter appends a header to a slice.
type headerWriter []byte

func (w *headerWriter) Write(p []byte) (int, error) {
	*w = append(*w, p...)
	return len(p), nil
}
