package gateway

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

// read reads frames until the socket ends. It runs on the goroutine of the connection.
func (c *Conn) read(in io.Reader) {
	const buffer = 128 // bytes: commands are short, and every idle client has a buffer
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

	message    []byte // the frames so far
	ends       []int  // where each ends in message, for Raw hooks
	op         ws.OpCode
	fragmented bool
	packed     bool // the message is deflated
	parts      int  // frames so far
}

// badFrame is an error for which the connection is closed with a code and a text.
type badFrame struct {
	code CloseCode
	text string
}

func (e *badFrame) Error() string { return e.text }

// maxParts is the maximum number of frames of a message.
const maxParts = 1024

// readFrame reads and handles one frame.
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
	if h.OpCode != ws.OpClose && !c.isOpen() { // the connection is being closed
		_, err := io.CopyN(io.Discard, r.in, h.Length)
		return err
	}
	if h.OpCode.IsControl() {
		return r.controlFrame(h)
	}
	c.lastMessage.Store(now)
	return r.dataFrame(h)
}

// checkHeader refuses what RFC 6455 does not allow.
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

// controlFrame handles a ping, a pong or a close frame.
func (r *reader) controlFrame(h ws.Header) error {
	var buf [ws.MaxControlFramePayloadSize]byte
	payload := buf[:h.Length]
	if _, err := io.ReadFull(r.in, payload); err != nil {
		return err
	}
	ws.Cipher(payload, h.Mask, 0)
	switch h.OpCode {
	case ws.OpPing:
		if r.c.Charge(1) { // a flood of pings gets few pongs
			r.c.push(entry{data: ws.MustCompileFrame(ws.NewPongFrame(payload)), kept: true})
		}
	case ws.OpClose:
		return r.clientClose(payload)
	}
	return nil
}

// clientClose answers a close frame.
func (r *reader) clientClose(payload []byte) error {
	reason := CloseReason{Code: CloseNormal, Remote: true}
	switch {
	case len(payload) == 1:
		return &badFrame{CloseProtocol, "a close code of one byte"}
	case len(payload) >= 2:
		reason.Code, reason.Text = CloseCode(binary.BigEndian.Uint16(payload)), string(payload[2:])
		if !reason.Code.sendable() {
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

// drain reads until the socket is closed: by the client, or by the sweeper after
// Limits.Write.
func (r *reader) drain() { _, _ = io.Copy(io.Discard, r.in) }

// dataFrame adds a frame to the message, and handles the message if it is complete.
func (r *reader) dataFrame(h ws.Header) error {
	c := r.c
	if h.OpCode != ws.OpContinuation {
		r.op, r.packed, r.parts, r.ends = h.OpCode, h.Rsv1(), 0, r.ends[:0]
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
		r.ends = append(r.ends, len(r.message))
	}
	r.fragmented = !h.Fin
	if r.fragmented {
		return nil
	}
	message := r.message
	r.message = nil
	return r.handleMessage(message)
}

// payload appends the payload of a frame, of n bytes, to the message. It allocates
// only as the bytes come.
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

// handleMessage charges a message, then inflates, checks and handles it. It is charged
// before that costs anything and before a hook sees it: hooks may broadcast it, and an
// error is an answer as well.
func (r *reader) handleMessage(message []byte) error {
	c := r.c
	if !c.Charge(1 + sizeCost(len(message), sentPerCost)) {
		c.h.count.messages.Add(1)
		if r.packed || len(message) > maxRefused {
			message = nil
		}
		c.refuse(message)
		return nil
	}
	if c.h.hooked(func(h *Hooks) bool { return h.Raw != nil }) && !r.isSecret(message) {
		if message = r.applyRawHooks(message); message == nil {
			return nil
		}
	}
	c.h.count.messages.Add(1)
	size := len(message)
	message, err := r.decode(message)
	if err != nil {
		return err
	}
	c.debit(sizeCost(len(message), sentPerCost) - sizeCost(size, sentPerCost)) // the rest, if it was packed
	c.handle(message)
	return nil
}

// isSecret reports whether a message is the command AUTH; see Conn.isSecret.
func (r *reader) isSecret(message []byte) bool {
	if !r.c.h.hasAuth() { // saves inflating it twice
		return false
	}
	plain, err := r.decode(message)
	return err == nil && r.c.isSecret(plain)
}

// applyRawHooks takes each frame of a message through the Raw hooks. Nil: they have dropped
// all of them, or one has ended the connection.
func (r *reader) applyRawHooks(message []byte) []byte {
	if message == nil {
		message = []byte{} // nil means dropped
	}
	var out []byte
	begin := 0
	for _, end := range r.ends {
		kept, ok := r.c.applyRawHooks(message[begin:end:end])
		switch {
		case !ok:
			return nil // the close frame is queued
		case kept != nil && out == nil:
			out = make([]byte, 0, len(message))
		}
		out, begin = append(out, kept...), end
	}
	return out
}

// decode inflates a message and checks that text is UTF-8.
func (r *reader) decode(message []byte) ([]byte, error) {
	if r.packed {
		var err error
		if message, err = inflated(message, r.c.h.cfg.Limits.Message); err != nil {
			if errors.Is(err, errInflated) {
				return nil, &badFrame{CloseTooLong, "the message is too long when inflated"}
			}
			return nil, &badFrame{CloseNotUTF8, "not deflated"}
		}
	}
	if r.op == ws.OpText && !utf8.Valid(message) {
		return nil, &badFrame{CloseNotUTF8, "text that is not UTF-8"}
	}
	if message == nil {
		message = []byte{} // nil means dropped
	}
	return message, nil
}
