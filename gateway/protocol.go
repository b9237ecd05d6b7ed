package gateway

import (
	"encoding/json"
	"time"
)

// Protocol is how commands and frames look on the wire. It is used by many
// goroutines at once. [Text], [JSON] and [Plain] are ours.
type Protocol interface {
	// Name is the WebSocket subprotocol by which a client chooses it.
	Name() string

	// Parse reads a command from a message. A request without a command is
	// ignored; an error is told to the client. The message is the protocol's.
	Parse(message []byte) (Request, error)

	// Append appends a frame to dst as one message. Where it appends nothing, or
	// panics, nothing is sent.
	Append(dst []byte, f *Frame) []byte
}

// Request is a command from a client.
type Request struct {
	Command string
	Args    []string
	Options map[string]string // name=value

	// Ref is what the client calls the request by, as JSON, and finds in the
	// frames that answer it. Nil: nothing.
	Ref json.RawMessage
}

// Frame is something to tell a client, before a [Protocol] makes a message of it.
type Frame struct {
	Kind    Kind
	Source  string          // of a publication: its channel; of a value: what it answers
	Content json.RawMessage // valid JSON; nil: null. Of a status an object, of a broadcast anything
	Raw     []byte          // what Content, a string, was made of because it was not JSON; nil: it was
	Ref     json.RawMessage // of the request that it answers; nil: of none
	Time    time.Time
	Offset  string // of a publication on a channel with a history

	// Of an error:
	Code    Code
	Message string
	Command string
}

// Kind says what a Frame is about.
type Kind uint8

const (
	// KindPublication is a message of a channel.
	KindPublication Kind = iota
	// KindValue answers a request.
	KindValue
	// KindDone says that a request was carried out, and all its values were sent.
	KindDone
	// KindError says that a request was not carried out.
	KindError
	// KindStatus is news of the connection or one of its channels.
	KindStatus
	// KindBroadcast is bytes that [Conn.Send] or a hook sends as they are.
	KindBroadcast
)
