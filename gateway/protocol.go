package gateway

import (
	"encoding/json"
	"time"
)

// Protocol is the format of commands and of messages to clients. Its methods are
// called by many goroutines at once. [Text], [JSON] and [Plain] are built in.
type Protocol interface {
	// Name returns the WebSocket subprotocol by which a client chooses the protocol.
	Name() string

	// Parse reads a command from a message, which it may keep. A request without a
	// Command is ignored; an error is sent to the client. A command with more than args
	// arguments and options, which is Limits.Args, is refused in any case: Parse need
	// not read on.
	Parse(message []byte, args int) (Request, error)

	// Append appends a frame to dst as one message. If it appends nothing, or panics,
	// nothing is sent, except of a KindBroadcast without Content: that is an empty message.
	Append(dst []byte, f *Frame) []byte
}

// Request is a command from a client.
type Request struct {
	Command string
	Args    []string
	Options map[string]string // name=value

	// Ref is the client's identifier of the request, as JSON. It is in every frame that
	// answers the request. Nil: there is none.
	Ref json.RawMessage

	concurrent bool // it is carried out on a goroutine of its own
}

// Frame is what a client is told, before a [Protocol] formats it.
type Frame struct {
	Kind    Kind
	Source  string          // the channel of a publication; the key, or "key ref", of a value
	Content json.RawMessage // valid JSON; nil: null. An object for a status, any bytes for a broadcast
	Raw     []byte          // the original of Content, if that was not JSON; else nil
	Ref     json.RawMessage // Request.Ref of the request that it answers; nil: none
	Time    time.Time
	Offset  string // of a publication, on a channel with a history

	// For KindError:
	Code    Code
	Message string
	Command string
}

// Kind says what a Frame is.
type Kind uint8

const (
	// KindPublication is a message of a channel.
	KindPublication Kind = iota
	// KindValue answers a request.
	KindValue
	// KindDone says that a request was carried out, and all its values have been sent.
	KindDone
	// KindError says that a request was not carried out.
	KindError
	// KindStatus reports on the connection or one of its channels.
	KindStatus
	// KindBroadcast is bytes that [Conn.Send] or [Broadcast] sends unchanged.
	KindBroadcast
)
