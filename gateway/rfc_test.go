package gateway_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsflate"
	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/gateway"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// wire is a client that may send anything.
type wire struct {
	t    testing.TB
	conn net.Conn
	in   *bufio.Reader
}

// handshake is what a client asks first. Lines are further headers.
func handshake(at *url.URL, lines ...string) string {
	return "GET " + at.Path + " HTTP/1.1\r\nHost: " + at.Host + "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" +
		strings.Join(append(lines, ""), "\r\n") + "\r\n"
}

// dialTCP connects, for 20 s at most.
func dialTCP(t testing.TB, address string) net.Conn {
	t.Helper()
	at, err := url.Parse(address)
	require.NoError(t, err)
	conn, err := net.Dial("tcp", at.Host)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	return conn
}

// request sends a request as it stands and returns the answer to it.
func request(t testing.TB, address, text string) (*wire, *http.Response) {
	t.Helper()
	conn := dialTCP(t, address)
	_, err := io.WriteString(conn, text)
	require.NoError(t, err)
	w := &wire{t: t, conn: conn, in: bufio.NewReader(conn)}
	answer, err := http.ReadResponse(w.in, nil)
	require.NoError(t, err)
	return w, answer
}

// connect shakes hands and takes the frame that says so.
func connect(t testing.TB, address string, lines ...string) *wire {
	t.Helper()
	at, err := url.Parse(address)
	require.NoError(t, err)
	w, answer := request(t, address, handshake(at, lines...))
	require.Equal(t, http.StatusSwitchingProtocols, answer.StatusCode)
	require.Contains(t, w.text(), `"open"`)
	return w
}

// bits are the first byte of a frame.
const (
	fin, rsv1, rsv2, rsv3 = 0x80, 0x40, 0x20, 0x10

	more, text, binaries, goodbye, pings, pongs = 0x0, 0x1, 0x2, 0x8, 0x9, 0xa
)

// frame returns a masked frame.
func frame(first byte, payload string) []byte {
	f := []byte{first, 0x80}
	switch n := len(payload); {
	case n < 126:
		f[1] |= byte(n)
	case n < 1<<16:
		f[1] |= 126
		f = binary.BigEndian.AppendUint16(f, uint16(n))
	default:
		f[1] |= 127
		f = binary.BigEndian.AppendUint64(f, uint64(n))
	}
	mask := [4]byte{1, 2, 3, 0xfe}
	f = append(f, mask[:]...)
	for i := range len(payload) {
		f = append(f, payload[i]^mask[i%4])
	}
	return f
}

// closing returns a close frame.
func closing(code uint16, reason string) []byte {
	return frame(fin|goodbye, string(binary.BigEndian.AppendUint16(nil, code))+reason)
}

// frames joins frames.
func frames(all ...[]byte) []byte { return bytes.Join(all, nil) }

func (w *wire) send(b []byte) {
	w.t.Helper()
	_, err := w.conn.Write(b)
	require.NoError(w.t, err)
}

// readFrame reads what our own server says.
func readFrame(in io.Reader) (f ws.Frame, err error) {
	if f.Header, err = ws.ReadHeader(in); err != nil {
		return f, err
	}
	f.Payload = make([]byte, f.Header.Length)
	_, err = io.ReadFull(in, f.Payload)
	return f, err
}

// next returns the next frame. What a server sends is whole and not masked.
func (w *wire) next() ws.Frame {
	w.t.Helper()
	require.NoError(w.t, w.conn.SetDeadline(time.Now().Add(patience))) // for each: a test may take longer
	f, err := readFrame(w.in)
	require.NoError(w.t, err)
	require.True(w.t, f.Header.Fin)
	require.False(w.t, f.Header.Masked)
	if f.Header.Rsv1() {
		f, err = wsflate.DecompressFrame(f)
		require.NoError(w.t, err)
	}
	return f
}

func (w *wire) text() string {
	w.t.Helper()
	f := w.next()
	require.Equal(w.t, ws.OpText, f.Header.OpCode, string(f.Payload))
	return string(f.Payload)
}

// said returns a frame in the words of the table below.
func (w *wire) said() string {
	w.t.Helper()
	f := w.next()
	switch f.Header.OpCode {
	case ws.OpPong:
		return "pong " + string(f.Payload)
	case ws.OpClose:
		code, _ := ws.ParseCloseFrameData(f.Payload)
		return fmt.Sprint("close ", code)
	}
	var e envelope
	require.NoError(w.t, json.Unmarshal(f.Payload, &e), string(f.Payload))
	if e.Source != "error" {
		return string(e.Content)
	}
	var problem struct{ Code string }
	require.NoError(w.t, json.Unmarshal(e.Content, &problem))
	return problem.Code
}

// ended requires that the server has closed the connection.
func (w *wire) ended() {
	w.t.Helper()
	_, err := w.in.ReadByte()
	require.ErrorIs(w.t, err, io.EOF)
}

// rfc are cases of RFC 6455, in the order of its sections: what a client sends, and
// what it gets for it. After a close frame, the socket is closed next.
var rfc = []struct {
	name string
	send []byte
	want string // frames, with commas between them
}{
	{"5.1 a frame that is not masked", []byte{fin | text, 4, 'P', 'I', 'N', 'G'}, "close 1002"},
	{"5.1 a ping that is not masked", []byte{fin | pings, 0}, "close 1002"},

	{"5.2 reserved bit 1", frame(fin|rsv1|text, "PING"), "close 1002"},
	{"5.2 reserved bit 2", frame(fin|rsv2|text, "PING"), "close 1002"},
	{"5.2 reserved bit 3", frame(fin|rsv3|text, "PING"), "close 1002"},
	{"5.2 all reserved bits of a ping", frame(fin|rsv1|rsv2|rsv3|pings, ""), "close 1002"},
	{"5.2 opcode 3", frame(fin|3, "PING"), "close 1002"},
	{"5.2 opcode 7", frame(fin|7, ""), "close 1002"},
	{"5.2 opcode 11", frame(fin|0xb, ""), "close 1002"},
	{"5.2 opcode 15", frame(fin|0xf, "PING"), "close 1002"},
	{"5.2 a length with its first bit set", []byte{fin | text, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0}, "close 1002"},
	{"5.2 the longest length there is", []byte{fin | text, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0}, "close 1009"},
	// The RFC wants the shortest form; clients are known that don't have it, and it does no harm.
	{"5.2 a length of 16 bits that needs 7", []byte{fin | text, 0xfe, 0, 4, 0, 0, 0, 0, 'P', 'I', 'N', 'G'}, `"PONG"`},
	{"5.2 a length of 64 bits that needs 7", []byte{fin | text, 0xff, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 'P', 'I', 'N', 'G'}, `"PONG"`},
	{"5.2 a length of 16 bits", frame(fin|text, "PING"+strings.Repeat(" ", 200)), `"PONG"`},
	{"5.2 the longest message", frame(fin|text, "PING"+strings.Repeat(" ", 64<<10-4)), `"PONG"`},
	{"5.2 one byte more", frame(fin|text, "PING"+strings.Repeat(" ", 64<<10-3)), "close 1009"},

	{"5.4 two fragments", frames(frame(text, "PI"), frame(fin|more, "NG")), `"PONG"`},
	{"5.4 a fragment for each byte", frames(frame(text, "P"), frame(more, "I"), frame(more, "N"), frame(fin|more, "G")), `"PONG"`},
	{"5.4 empty fragments", frames(frame(text, ""), frame(more, ""), frame(more, "PING"), frame(fin|more, "")), `"PONG"`},
	{"5.4 nothing but empty fragments", frames(frame(text, ""), frame(fin|more, "")), "bad_command"},
	{"5.4 pings between fragments", frames(frame(text, "PI"), frame(fin|pings, "a"), frame(more, ""), frame(fin|pings, "b"), frame(fin|more, "NG")), `pong a, pong b, "PONG"`},
	{"5.4 a pong between fragments", frames(frame(text, "PI"), frame(fin|pongs, "a"), frame(fin|more, "NG")), `"PONG"`},
	{"5.4 a goodbye between fragments", frames(frame(text, "PI"), closing(1000, "")), "close 1000"},
	{"5.4 a continuation of nothing", frame(fin|more, "PING"), "close 1002"},
	{"5.4 a continuation of nothing, to go on", frame(more, "PING"), "close 1002"},
	{"5.4 a continuation of a message that is whole", frames(frame(fin|text, "PING"), frame(fin|more, "PING")), `"PONG", close 1002`},
	{"5.4 a message inside another", frames(frame(text, "PI"), frame(fin|text, "NG")), "close 1002"},
	{"5.4 bytes inside a text", frames(frame(text, "PI"), frame(fin|binaries, "NG")), "close 1002"},
	{"5.4 1024 fragments", frames(frame(text, "PING"), bytes.Repeat(frame(more, " "), 1022), frame(fin|more, "")), `"PONG"`},
	{"5.4 10,000 fragments", frames(frame(text, "PING"), bytes.Repeat(frame(more, " "), 9999)), "close 1009"},
	{"5.4 10,000 empty fragments", frames(frame(text, ""), bytes.Repeat(frame(more, ""), 9999)), "close 1009"},
	{"5.4 fragments that are too long together", frames(frame(text, strings.Repeat(" ", 40_000)), frame(more, strings.Repeat(" ", 25_536)), frame(fin|more, " ")), "close 1009"},

	{"5.5 a ping in fragments", frame(pings, ""), "close 1002"},
	{"5.5 a goodbye in fragments", frame(goodbye, ""), "close 1002"},
	{"5.5 a ping of 125 bytes", frame(fin|pings, strings.Repeat("x", 125)), "pong " + strings.Repeat("x", 125)},
	{"5.5 a ping of 126 bytes", frame(fin|pings, strings.Repeat("x", 126)), "close 1002"},
	{"5.5 a goodbye of 126 bytes", closing(1000, strings.Repeat("x", 124)), "close 1002"},

	{"5.5.1 a goodbye without a code", frame(fin|goodbye, ""), "close 1000"},
	{"5.5.1 a goodbye with a reason", closing(1001, "the tab is closed"), "close 1001"},
	{"5.5.1 the longest reason", closing(1000, strings.Repeat("x", 123)), "close 1000"},
	{"5.5.1 a reason that is not UTF-8", closing(1000, "\xed\xa0\x80"), "close 1007"},
	{"5.5.1 commands behind a goodbye", frames(closing(1000, ""), frame(fin|text, "PING"), []byte("\x00garbage")), "close 1000"},
	{"5.5.1 two goodbyes", frames(closing(1000, ""), closing(1001, "")), "close 1000"},
	{"5.5.1 a command before it", frames(frame(fin|text, "PING"), closing(1000, "")), `"PONG", close 1000`},

	{"5.5.2 a ping", frame(fin|pings, ""), "pong "},
	{"5.5.2 pings in a row", frames(frame(fin|pings, "1"), frame(fin|pings, "2"), frame(fin|pings, "3")), "pong 1, pong 2, pong 3"},
	{"5.5.3 unsolicited pongs", frames(frame(fin|pongs, ""), frame(fin|pongs, "x"), frame(fin|text, "PING")), `"PONG"`},

	{"5.6 an empty text", frame(fin|text, ""), "bad_command"},
	{"5.6 empty bytes", frame(fin|binaries, ""), "bad_command"},
	{"5.6 a command in bytes", frame(fin|binaries, "PING"), `"PONG"`},

	{"7.4 code 0", closing(0, ""), "close 1002"},
	{"7.4 code 999", closing(999, ""), "close 1002"},
	{"7.4 code 1004", closing(1004, ""), "close 1002"},
	{"7.4 code 1005", closing(1005, ""), "close 1002"},
	{"7.4 code 1006", closing(1006, ""), "close 1002"},
	{"7.4 code 1015", closing(1015, ""), "close 1002"},
	{"7.4 code 1016", closing(1016, ""), "close 1002"},
	{"7.4 code 2999", closing(2999, ""), "close 1002"},
	{"7.4 code 5000", closing(5000, ""), "close 1002"},
	{"7.4 code 65535", closing(65535, ""), "close 1002"},
	{"7.4 half a code", frame(fin|goodbye, "\x03"), "close 1002"},
	{"7.4 code 1007", closing(1007, ""), "close 1007"},
	{"7.4 code 1014", closing(1014, ""), "close 1014"},
	{"7.4 code 3000", closing(3000, ""), "close 3000"},
	{"7.4 code 4999", closing(4999, ""), "close 4999"},

	{"8.1 UTF-8", frame(fin|text, "GET κόσμε"), "null"},
	{"8.1 a character in two fragments", frames(frame(text, "GET \xce"), frame(fin|more, "\xba")), "null"},
	{"8.1 a byte that is never UTF-8", frame(fin|text, "GET \xff"), "close 1007"},
	{"8.1 a surrogate", frame(fin|text, "GET \xed\xa0\x80"), "close 1007"},
	{"8.1 too long a form", frame(fin|text, "GET \xc0\xaf"), "close 1007"},
	{"8.1 beyond Unicode", frame(fin|text, "GET \xf4\x90\x80\x80"), "close 1007"},
	{"8.1 half a character", frame(fin|text, "GET \xce"), "close 1007"},
	{"8.1 half a character in the last fragment", frames(frame(text, "GET "), frame(fin|more, "\xce")), "close 1007"},
	{"8.1 bytes need not be UTF-8", frames(frame(fin|binaries, "GET \xff"), frame(fin|text, "PING")), `bad_name, "PONG"`},

	{"not a frame at all", []byte("GET / HTTP/1.1\r\nHost: example.org\r\n\r\n"), "close 1002"},
}

func TestRFC6455(t *testing.T) {
	t.Parallel()
	h, address := serve(t, storagetest.New(t), anything)
	for _, row := range rfc {
		t.Run(row.name, func(t *testing.T) {
			w := connect(t, address)
			w.send(row.send)
			var got []string
			for range strings.Split(row.want, ", ") {
				got = append(got, w.said())
			}
			require.Equal(t, row.want, strings.Join(got, ", "))
			if strings.Contains(row.want, "close") {
				w.ended()
				return
			}
			w.send(frame(fin|text, "PING"))
			require.Equal(t, `"PONG"`, w.said(), "the connection goes on")
		})
	}
	empty(t, h)
}

// empty waits until a handler has no more connections.
func empty(t testing.TB, h *gateway.Handler) {
	t.Helper()
	require.Eventually(t, func() bool {
		s := h.Stats()
		return s.Connections == 0 && s.Channels == 0 && s.Subscriptions == 0
	}, 10*time.Second, time.Millisecond)
}

// The same, a byte at a time: where a segment ends can't be chosen.
func TestFramesInManySegments(t *testing.T) {
	t.Parallel()
	_, address := serve(t, storagetest.New(t), anything)
	w := connect(t, address)
	for _, b := range frames(frame(text, "PI"), frame(fin|pings, "between"), frame(fin|more, "NG"+strings.Repeat(" ", 130)), closing(1000, "")) {
		w.send([]byte{b})
	}
	require.Equal(t, "pong between", w.said())
	require.Equal(t, `"PONG"`, w.said())
	require.Equal(t, "close 1000", w.said())
	w.ended()
}

// What a hook takes of a message is not in it, and a message of which it takes all
// is none.
func TestFramesThatAHookTakes(t *testing.T) {
	t.Parallel()
	cfg := anything
	cfg.Hooks = []gateway.Hooks{{Raw: func(_ *gateway.Conn, data []byte) ([]byte, error) {
		if strings.HasPrefix(string(data), "secret") {
			return nil, nil
		}
		return data, nil
	}}}
	h, address := serve(t, storagetest.New(t), cfg)
	w := connect(t, address)
	w.send(frames(
		frame(fin|text, "secret"), frame(text, "secret"), frame(fin|more, "secret"), // nothing
		frame(text, "secret"), frame(fin|more, "PING"), frame(fin|text, ""),
	))
	require.Equal(t, `"PONG"`, w.said())
	require.Equal(t, "bad_command", w.said(), "it was empty from the beginning")
	require.EqualValues(t, 2, h.Stats().Messages)
}

func TestFramesInTheSegmentOfTheHandshake(t *testing.T) {
	t.Parallel()
	_, address := serve(t, storagetest.New(t), anything)
	at, err := url.Parse(address)
	require.NoError(t, err)
	for _, long := range []int{0, 1000, 60_000} { // within and beyond the buffer of the server of HTTP
		w, answer := request(t, address, handshake(at)+string(frames(frame(fin|text, "PING"+strings.Repeat(" ", long)), frame(fin|pings, "x"))))
		require.Equal(t, http.StatusSwitchingProtocols, answer.StatusCode)
		require.Equal(t, `{"status":"open"}`, w.said())
		require.Equal(t, `"PONG"`, w.said())
		require.Equal(t, "pong x", w.said())
	}
}

// Where the server sends the first close frame, the client gets all that was sent before,
// may answer, and is not waited for.
func TestTheServerSendsACloseFrame(t *testing.T) {
	t.Parallel()
	cfg := anything
	cfg.Limits = gateway.Limits{Write: 50 * time.Millisecond}
	cfg.Commands = map[string]gateway.Command{"QUIT": {Run: quit}}
	h, address := serve(t, storagetest.New(t), cfg)
	for name, answer := range map[string][]byte{
		"answered":                closing(4242, ""),
		"answered behind a rest":  frames(frame(fin|text, "PING"), frame(fin|pings, ""), closing(4242, "")),
		"answered by nonsense":    []byte("nonsense, and much of it"),
		"answered by half a text": frames(frame(text, "PI"), frame(fin|text, "NG")),
		"not answered":            nil,
	} {
		t.Run(name, func(t *testing.T) {
			w := connect(t, address)
			w.send(frames(frame(fin|text, "PING"), frame(fin|text, "QUIT")))
			require.Equal(t, `"PONG"`, w.said())
			require.Equal(t, "close 4242", w.said())
			_, _ = w.conn.Write(answer) // the server may be gone
			w.ended()
			empty(t, h)
		})
	}
}

func TestClientsThatVanish(t *testing.T) {
	t.Parallel()
	cfg := anything
	cfg.Limits = gateway.Limits{Ping: 20 * time.Millisecond, Pong: 20 * time.Millisecond}
	reasons := make(chan gateway.CloseReason, 1)
	cfg.Hooks = []gateway.Hooks{{Disconnect: func(_ context.Context, _ *gateway.Conn, reason gateway.CloseReason) { reasons <- reason }}}
	h, address := serve(t, storagetest.New(t), cfg)
	for name, vanish := range map[string]func(w *wire){
		"in the middle of a header":  func(w *wire) { w.send([]byte{fin | text}); _ = w.conn.Close() },
		"in the middle of a payload": func(w *wire) { w.send(frame(fin|text, "PING")[:8]); _ = w.conn.Close() },
		"between fragments":          func(w *wire) { w.send(frame(text, "PI")); _ = w.conn.Close() },
		"by a reset": func(w *wire) {
			require.NoError(t, w.conn.(*net.TCPConn).SetLinger(0))
			_ = w.conn.Close()
		},
		"its half closed": func(w *wire) { require.NoError(t, w.conn.(*net.TCPConn).CloseWrite()) },
		"half open":       func(*wire) {}, // it does not answer pings
	} {
		t.Run(name, func(t *testing.T) {
			w := connect(t, address)
			w.send(frame(fin|text, "SUB c"))
			vanish(w)
			require.Equal(t, gateway.CloseAbnormal, (<-reasons).Code)
			empty(t, h)
		})
	}
	require.NotZero(t, h.Stats().Dropouts)
}
