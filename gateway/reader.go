package gateway

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

// read takes frames until the socket ends.
func (c *Conn) read(in io.Reader) {
	const buffer = 512 // bytes; commands are short, and every idle client has one
	r := reader{c: c, in: bufio.NewReaderSize(in, buffer)}
	for {
		err := r.readFrame()
		var bad *badFrame
		switch {
		case errors.As(err, &bad):
			c.h.count.badFrames.Add(1)
			c.Close(bad.code, bad.text)
			r.drain()
			return
		case err != nil:
			return
		}
	}
}

// reader joins the frames of one client to messages.
type reader struct {
	c      *Conn
	in     *bufio.Reader
	header [ws.MaxHeaderSize]byte

	message    []byte // so far
	op         ws.OpCode
	fragmented bool
	packed     bool // the message is deflated
	parts      int  // of the message
	kept       bool // a hook has left something of it
}

// badFrame is a frame by which a client has forfeited his connection.
type badFrame struct {
	code CloseCode
	text string
}

func (e *badFrame) Error() string { return e.text }

// maxParts is how many frames a message may come in.
const maxParts = 1024

// frame reads one frame and does what it says.
func (r *reader) readFrame() error {
	h, err := ws.ReadHeaderBuffer(r.in, r.header[:])
	if err != nil {
		if errors.Is(err, ws.ErrHeaderLengthMSB) || errors.Is(err, ws.ErrHeaderLengthUnexpected) {
			return &badFrame{CloseProtocol, err.Error()}
		}
		return err
	}
	c := r.c
	now := c.h.now()
	c.pingSent.Store(0)
	if err := r.checkHeader(h); err != nil {
		return err
	}
	if h.OpCode != ws.OpClose && !c.isOpen() { // it is for nobody
		_, err := io.CopyN(io.Discard, r.in, h.Length)
		return err
	}
	if h.OpCode.IsControl() {
		return r.controlFrame(h)
	}
	c.lastMessage.Store(now)
	return r.dataFrame(h)
}

// check refuses what the protocol does not allow.
func (r *reader) checkHeader(h ws.Header) error {
	state := ws.StateServerSide
	if r.fragmented {
		state |= ws.StateFragmented
	}
	if r.c.v.deflate {
		state |= ws.StateExtended
	}
	if err := ws.CheckHeader(h, state); err != nil {
		return &badFrame{CloseProtocol, err.Error()}
	}
	if h.Rsv != 0 && (h.Rsv2() || h.Rsv3() || h.OpCode == ws.OpContinuation || h.OpCode.IsControl()) {
		return &badFrame{CloseProtocol, ws.ErrProtocolNonZeroRsv.Error()}
	}
	return nil
}

// control handles a ping, a pong or a goodbye.
func (r *reader) controlFrame(h ws.Header) error {
	var buf [ws.MaxControlFramePayloadSize]byte
	payload := buf[:h.Length]
	if _, err := io.ReadFull(r.in, payload); err != nil {
		return err
	}
	ws.Cipher(payload, h.Mask, 0)
	switch h.OpCode {
	case ws.OpPing:
		if r.c.Charge(1) { // a flood gets few pongs
			r.c.push(entry{data: ws.MustCompileFrame(ws.NewPongFrame(payload)), kept: true})
		}
	case ws.OpClose:
		return r.clientClose(payload)
	}
	return nil
}

// goodbye answers the end that the client wants.
func (r *reader) clientClose(payload []byte) error {
	reason := CloseReason{Code: CloseNormal, Remote: true}
	switch {
	case len(payload) == 1:
		return &badFrame{CloseProtocol, "a close code of one byte"}
	case len(payload) >= 2:
		code := ws.StatusCode(binary.BigEndian.Uint16(payload))
		reason.Code, reason.Text = CloseCode(code), string(payload[2:])
		if code.IsNotUsed() || code.IsProtocolReserved() || code == ws.StatusNoMeaningYet || code > 4999 ||
			code.IsProtocolSpec() && code > 1014 {
			return &badFrame{CloseProtocol, "a close code that may not be sent"}
		}
		if !utf8.ValidString(reason.Text) {
			return &badFrame{CloseNotUTF8, "a close reason that is not UTF-8"}
		}
	}
	r.c.answerClose(reason)
	r.drain()
	return io.EOF
}

// drain reads until the socket is closed: by the client, or when the goodbye has
// been written or waited for long enough.
func (r *reader) drain() { _, _ = io.Copy(io.Discard, r.in) }

// data adds a frame to the message, and handles one that is whole.
func (r *reader) dataFrame(h ws.Header) error {
	c := r.c
	if h.OpCode != ws.OpContinuation {
		r.op, r.packed, r.parts, r.kept = h.OpCode, h.Rsv1(), 0, len(c.h.cfg.Hooks) == 0
	}
	r.parts++
	limit := c.h.cfg.Limits.Message
	if h.Length > int64(limit-len(r.message)) || r.parts > maxParts {
		return &badFrame{CloseTooLong, "the message is too long"}
	}
	begin := len(r.message)
	if err := r.payload(int(h.Length)); err != nil {
		return err
	}
	ws.Cipher(r.message[begin:], h.Mask, 0)
	if len(c.h.cfg.Hooks) > 0 {
		if r.message == nil {
			r.message = []byte{} // nil is what a hook has taken
		}
		out, ok := c.applyRawHooks(r.message[begin:])
		if !ok {
			r.message = nil
			return nil // the goodbye is on its way
		}
		r.message, r.kept = append(r.message[:begin], out...), r.kept || out != nil
	}
	if r.fragmented = !h.Fin; r.fragmented {
		return nil
	}
	message := r.message
	r.message = nil
	if !r.kept {
		c.Charge(1) // as for any message
		return nil
	}
	return r.handleMessage(message)
}

// payload appends n bytes to the message. It does not believe in n before they have
// come.
func (r *reader) payload(n int) error {
	const step = 4096
	for n > 0 {
		k := min(n, max(step, len(r.message)))
		begin := len(r.message)
		r.message = append(r.message, make([]byte, k)...)
		if _, err := io.ReadFull(r.in, r.message[begin:]); err != nil {
			return err
		}
		n -= k
	}
	return nil
}

// whole handles a message.
func (r *reader) handleMessage(message []byte) error {
	c := r.c
	c.h.count.messages.Add(1)
	if r.packed {
		var err error
		if message, err = inflated(message, c.h.cfg.Limits.Message); err != nil {
			if errors.Is(err, errInflated) {
				return &badFrame{CloseTooLong, "the message is too long when inflated"}
			}
			return &badFrame{CloseNotUTF8, "not deflated"}
		}
	}
	if r.op == ws.OpText && !utf8.Valid(message) {
		return &badFrame{CloseNotUTF8, "text that is not UTF-8"}
	}
	if message == nil {
		message = []byte{} // nil is what a hook has taken
	}
	c.handle(message)
	return nil
}
