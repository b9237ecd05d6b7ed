package gateway_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsflate"
	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/gateway"
	"github.com/heliograph/heliograph/storage/storagetest"
)

// echo is a handler that sends each message back, as the Autobahn test suite expects of a
// server. The limits let large messages through.
func echo(t *testing.T) (address string) {
	_, address = serve(t, storagetest.New(t), gateway.Config{
		Compression: true,
		Limits:      gateway.Limits{Message: 256 << 10, QueueBytes: 16 << 20, Commands: 1e9, CommandBurst: 1e9, Write: patience},
		Hooks: []gateway.Hooks{{Message: func(_ context.Context, c *gateway.Conn, data []byte) ([]byte, error) {
			c.Send(data)
			return nil, nil
		}}},
	})
	return address
}

// rows returns the lines of a file of cases, each split into its fields.
func rows(t *testing.T, name string) (all [][]string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "autobahn", name))
	require.NoError(t, err)
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			all = append(all, strings.Split(line, " | "))
		}
	}
	return all
}

// frameSpec is a frame of a case.
type frameSpec struct {
	kind    string
	first   byte // of the frame
	payload string
	code    int // of a close frame; 0: the payload is as it stands
}

var (
	caseWords  = regexp.MustCompile(`(?:[^\s"]|"(?:\\.|[^"\\])*")+`)
	caseFrame  = regexp.MustCompile(`^(text|binary|cont|ping|pong|close|op)(\d*)(\+?)(?:/(\d))?(?::(\d+))?("(?:\\.|[^"\\])*")?(?:\*(\d+))?$`)
	caseOption = regexp.MustCompile(`^(chop|fragment|repeat)=(\d+)$`)
	caseKinds  = map[string]byte{"text": text, "binary": binaries, "cont": more, "ping": pings, "pong": pongs, "close": goodbye}
)

// parseCase reads one side of a case.
func parseCase(t *testing.T, side string) (frames []frameSpec, options map[string]int) {
	t.Helper()
	options = map[string]int{"repeat": 1}
	for _, word := range caseWords.FindAllString(side, -1) {
		if word == "nothing" {
			continue
		}
		if m := caseOption.FindStringSubmatch(word); m != nil {
			options[m[1]] = caseNumber(t, m[2])
			continue
		}
		m := caseFrame.FindStringSubmatch(word)
		require.NotNil(t, m, word)
		f := frameSpec{kind: m[1], first: caseKinds[m[1]]}
		if m[2] != "" {
			f.first = byte(caseNumber(t, m[2]))
		}
		if m[3] == "" {
			f.first |= fin
		}
		f.first |= byte(caseNumber(t, m[4])) << 4
		f.code = caseNumber(t, m[5])
		if m[6] != "" {
			payload, err := strconv.Unquote(m[6])
			require.NoError(t, err, word)
			f.payload = strings.Repeat(payload, max(1, caseNumber(t, m[7])))
		}
		if m[5] != "" {
			f.payload = string(binary.BigEndian.AppendUint16(nil, uint16(f.code))) + f.payload
		}
		frames = append(frames, f)
	}
	once := frames
	for range options["repeat"] - 1 {
		frames = append(frames, once...)
	}
	return frames, options
}

// caseNumber is 0 for a part that is left out.
func caseNumber(t *testing.T, digits string) int {
	t.Helper()
	if digits == "" {
		return 0
	}
	n, err := strconv.Atoi(digits)
	require.NoError(t, err)
	return n
}

// fragmented returns a message in frames of at most size bytes; 0: in one.
func fragmented(first byte, payload string, size int) (out []byte) {
	for size > 0 && len(payload) > size {
		out = append(out, frame(first&^fin, payload[:size])...)
		first, payload = more|fin, payload[size:]
	}
	return append(out, frame(first, payload)...)
}

// TestAutobahnFrames are sections 1 to 7 and 9 of the suite.
func TestAutobahnFrames(t *testing.T) {
	t.Parallel()
	storagetest.Long(t)
	address := echo(t)
	for _, row := range append(rows(t, "frames.txt"), rows(t, "utf8.txt")...) {
		t.Run(row[0], func(t *testing.T) {
			frames, options := parseCase(t, row[1])
			want, _ := parseCase(t, row[2])
			var out []byte
			for _, f := range frames {
				out = append(out, fragmented(f.first, f.payload, options["fragment"])...)
			}
			w := connect(t, address)
			sent := make(chan struct{})
			go func() { // the server may stop reading
				defer close(sent)
				chop := options["chop"]
				for chop > 0 && len(out) > chop {
					if _, err := w.conn.Write(out[:chop]); err != nil {
						return
					}
					out = out[chop:]
				}
				_, _ = w.conn.Write(out)
			}()
			closed := false
			for _, f := range want {
				w.awaits(f)
				closed = f.kind == "close"
			}
			if !closed {
				<-sent
				w.send(closing(1000, ""))
				w.awaits(frameSpec{kind: "close", code: 1000})
			}
			w.ended()
		})
	}
}

// awaits takes the next frame, which must be f.
func (w *wire) awaits(f frameSpec) {
	w.t.Helper()
	got := w.next()
	if f.kind == "close" {
		code, reason := ws.ParseCloseFrameData(got.Payload)
		require.Equal(w.t, ws.OpClose, got.Header.OpCode)
		require.EqualValues(w.t, f.code, code, reason)
		return
	}
	require.EqualValues(w.t, caseKinds[f.kind], got.Header.OpCode)
	require.True(w.t, string(got.Payload) == f.payload, "other bytes: %d instead of %d", len(got.Payload), len(f.payload))
}

// TestAutobahnDeflate are sections 12 and 13 of the suite.
func TestAutobahnDeflate(t *testing.T) {
	t.Parallel()
	storagetest.Long(t)
	const accepted = "permessage-deflate; client_no_context_takeover; server_no_context_takeover"
	all := rows(t, "deflate.txt")
	sections, sizes := all[:len(all)-1], strings.Fields(all[len(all)-1][1])
	address := echo(t)
	for _, row := range sections {
		for i, size := range sizes {
			t.Run(fmt.Sprintf("%s.%d", row[0], i+1), func(t *testing.T) {
				at, err := url.Parse(address)
				require.NoError(t, err)
				w, answer := request(t, address, handshake(at, "Sec-WebSocket-Extensions: "+row[2]))
				require.Equal(t, http.StatusSwitchingProtocols, answer.StatusCode)
				deflates := row[3] == "accepted"
				require.Equal(t, deflates, answer.Header.Get("Sec-WebSocket-Extensions") != "")
				if deflates {
					require.ElementsMatch(t, strings.Split(accepted, "; "), strings.Split(strings.ReplaceAll(answer.Header.Get("Sec-WebSocket-Extensions"), ";", "; "), "; "))
				}
				w.text() // open
				length, fragment, _ := strings.Cut(size, "/")
				w.echoes(sample(row[1], caseNumber(t, length)), caseNumber(t, fragment), deflates)
			})
		}
	}
}

// echoes sends a message twice and awaits it.
func (w *wire) echoes(payload string, fragment int, deflates bool) {
	w.t.Helper()
	first, packed := byte(fin|text), payload
	if deflates {
		f, err := wsflate.CompressFrame(ws.NewTextFrame([]byte(payload)))
		require.NoError(w.t, err)
		first, packed = first|rsv1, string(f.Payload)
	}
	for range 2 {
		w.send(fragmented(first, packed, fragment))
		require.True(w.t, string(w.next().Payload) == payload)
	}
}

// sample returns text of a kind that compresses about as well as the suite's data: JSON,
// prose and HTML by much, a picture and a PDF by little.
func sample(kind string, size int) string {
	random := rand.New(rand.NewPCG(1, 2))
	var b bytes.Buffer
	for b.Len() < size {
		switch kind {
		case "json":
			fmt.Fprintf(&b, `{"id": %d, "name": "train", "at": [%.4f, %.4f]}, `, random.IntN(1000), random.Float64(), random.Float64())
		case "html":
			fmt.Fprintf(&b, `<tr><td class="row">%d</td><td class="row">%d</td></tr>`, random.IntN(1000), random.IntN(1000))
		case "prose":
			b.WriteString([]string{"the ", "mirror ", "flashes ", "on ", "a ", "hill ", "at ", "noon "}[random.IntN(8)])
		default:
			b.WriteByte(' ' + byte(random.IntN(95)))
		}
	}
	return b.String()[:size]
}
