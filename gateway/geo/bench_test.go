package geo_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/gateway"
	"github.com/heliograph/heliograph/gateway/geo"
	"github.com/heliograph/heliograph/storage/storagetest"
)

func BenchmarkProjector(b *testing.B) {
	for _, code := range []geo.EPSG{3857, 3395, 32632, 2154, 3035, 28992, 2056, 5514, 31257} {
		p, err := geo.Lookup(code)
		require.NoError(b, err)
		x, y := p.Forward(9.5, 47.25)
		b.Run(code.String()+"/forward", func(b *testing.B) {
			for b.Loop() {
				p.Forward(9.5, 47.25)
			}
		})
		b.Run(code.String()+"/inverse", func(b *testing.B) {
			for b.Loop() {
				p.Inverse(x, y)
			}
		})
	}
}

// kilobyte is a feature of 1 KB: a line of 38 points, and properties.
func kilobyte() []byte {
	var b bytes.Buffer
	b.WriteString(`{"type":"Feature","id":4711,"properties":{"line":"RE 5","delay":120,"state":"DRIVING","next":"Lucerne"},"geometry":{"type":"LineString","coordinates":[`)
	for i := range 38 {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "[%.7f,%.7f]", 8+0.01*float64(i), 47+0.2*math.Sin(float64(i)/5))
	}
	b.WriteString(`]}}`)
	return b.Bytes()
}

var projections = []geo.EPSG{3857, 32632, 2056}

func lookup(b *testing.B, code geo.EPSG) geo.Projector {
	p, err := geo.Lookup(code)
	require.NoError(b, err)
	return p
}

func BenchmarkRead(b *testing.B) {
	raw := kilobyte()
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		geo.Read(raw)
	}
}

func BenchmarkProject(b *testing.B) {
	d := geo.Read(kilobyte())
	for _, code := range projections {
		p := lookup(b, code)
		b.Run(code.String(), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				d.Project(p)
			}
		})
	}
}

// BenchmarkBox is the test of a box in which only the last vertex is, and of one
// that the feature is far from.
func BenchmarkBox(b *testing.B) {
	d := geo.Read(kilobyte())
	for name, box := range map[string]geo.Box{
		"near":       {Left: 8.365, Bottom: 40, Right: 9, Top: 50},
		"far":        {Left: 18, Bottom: 40, Right: 19, Top: 50},
		"intersects": {Left: 8.365, Bottom: 40, Right: 9, Top: 50, Intersects: true},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				box.Passes(d)
			}
		})
	}
}

// BenchmarkFilters is what it takes to read a feature of 1 KB, project it three
// ways, and decide for 1,000 clients, each with a box.
func BenchmarkFilters(b *testing.B) {
	g, err := geo.New(geo.Config{})
	require.NoError(b, err)
	var project []gateway.Filter
	for _, code := range projections {
		project = append(project, g.Projected(lookup(b, code)))
	}
	everywhere := g.Boxed(geo.Box{Left: -1e9, Bottom: -1e9, Right: 1e9, Top: 1e9})
	raw := kilobyte()
	for b.Loop() {
		m := &gateway.Message{Content: raw}
		for i := range 1000 {
			if everywhere(project[i%3](m)) == nil {
				b.Fatal("withheld")
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/client")
}

// BenchmarkDelivery sends a feature of 1 KB to 1,000 sockets, and waits until all
// have it: as it is, and to each in one of three projections and with a box. They
// take turns, so that whatever else the machine does slows both.
func BenchmarkDelivery(b *testing.B) {
	plain := audience(b, 1000, func(int) []string { return nil })
	projected := audience(b, 1000, func(i int) []string {
		return []string{"PROJECTION " + projections[i%3].String(), "BBOX -1e9 -1e9 1e9 1e9"}
	})
	var took [2]time.Duration
	for b.Loop() {
		for i, send := range []func(){plain, projected} {
			start := time.Now()
			send()
			took[i] += time.Since(start)
		}
	}
	b.ReportMetric(float64(took[0].Nanoseconds())/float64(b.N)/1000, "ns/plain")
	b.ReportMetric(float64(took[1].Nanoseconds())/float64(b.N)/1000, "ns/projected")
	b.ReportMetric(float64(took[1])/float64(took[0]), "ratio")
}

// feed is a gateway.Source of one channel.
type feed struct {
	to atomic.Pointer[func(gateway.Publication)]
}

func (f *feed) Follow(_ context.Context, _ string, deliver func(gateway.Publication)) (stop func(), err error) {
	f.to.Store(&deliver)
	return func() {}, nil
}

// audience connects clients to a gateway of their own, and returns a function that
// sends them a feature and returns when all have it.
func audience(b *testing.B, clients int, commands func(i int) []string) (send func()) {
	g, err := geo.New(geo.Config{})
	require.NoError(b, err)
	var source feed
	h, err := gateway.New(storagetest.New(b), gateway.Config{
		Channels: []gateway.Channel{{Pattern: "*"}}, Commands: g.Commands(), Source: &source,
	})
	require.NoError(b, err)
	srv := httptest.NewServer(h)
	b.Cleanup(func() {
		require.NoError(b, h.Close())
		srv.Close()
	})
	var got atomic.Int64
	arrived := make(chan struct{}, 1)
	for i := range clients {
		conn := dial(b, srv, append(commands(i), "SUB trains ack=1"))
		go func() {
			defer func() { _ = conn.Close() }()
			// Frames are not parsed: each has this word in it once.
			count(conn, `"timestamp"`, func(n int64) {
				if got.Add(n)%int64(clients) == 0 {
					arrived <- struct{}{}
				}
			})
		}()
	}
	raw, deliver := kilobyte(), *source.to.Load()
	return func() {
		deliver(gateway.Publication{Data: raw})
		select {
		case <-arrived:
		case <-time.After(time.Minute):
			b.Fatal("not all were delivered")
		}
	}
}

// dial opens a WebSocket, by hand, and returns when the last command is answered.
func dial(b *testing.B, srv *httptest.Server, commands []string) io.ReadCloser {
	conn, err := net.Dial("tcp", srv.Listener.Addr().String())
	require.NoError(b, err)
	fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	r := bufio.NewReaderSize(conn, 4096)
	answer, err := http.ReadResponse(r, nil)
	require.NoError(b, err)
	require.Equal(b, http.StatusSwitchingProtocols, answer.StatusCode)
	for _, c := range commands {
		// A text frame of less than 126 bytes, masked with zeros.
		_, err := conn.Write(append([]byte{0x81, 0x80 | byte(len(c)), 0, 0, 0, 0}, c...))
		require.NoError(b, err)
	}
	for said := ""; !strings.Contains(said, `"subscribed"`) || !strings.HasSuffix(said, `"client_reference"`); {
		c, err := r.ReadByte()
		require.NoError(b, err)
		said += string(c)
	}
	return struct {
		io.Reader
		io.Closer
	}{r, conn}
}

// count tells how often a word comes, until the reader ends.
func count(r io.Reader, word string, tell func(n int64)) {
	buf := make([]byte, 0, 32<<10)
	for {
		n, err := r.Read(buf[len(buf):cap(buf)])
		if err != nil {
			return
		}
		buf = buf[:len(buf)+n]
		if found := bytes.Count(buf, []byte(word)); found > 0 {
			tell(int64(found))
		}
		rest := min(len(buf), len(word)-1) // the beginning of a word, perhaps
		buf = buf[:copy(buf, buf[len(buf)-rest:])]
	}
}
