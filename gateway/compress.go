package gateway

import (
	"bytes"
	"compress/flate"
	"errors"
	"io"
	"sync"

	"github.com/gobwas/ws/wsflate"
)

// deflaters are reused: one takes over half a megabyte.
var deflaters = sync.Pool{New: func() any {
	return wsflate.NewWriter(nil, func(w io.Writer) wsflate.Compressor {
		f, err := flate.NewWriter(w, flate.BestSpeed)
		if err != nil {
			panic(err) // the level is valid
		}
		return f
	})
}}

// deflated returns p compressed for permessage-deflate, or nil if that doesn't make it
// smaller.
func deflated(p []byte) []byte {
	const least = 128 // bytes: shorter ones grow as often as they shrink
	if len(p) < least {
		return nil
	}
	w := deflaters.Get().(*wsflate.Writer)
	defer deflaters.Put(w)
	var out bytes.Buffer
	w.Reset(&out)
	if _, err := w.Write(p); err != nil || w.Flush() != nil || w.Close() != nil || out.Len() >= len(p) {
		return nil
	}
	return out.Bytes()
}

var errInflated = errors.New("gateway: the message is too long when inflated")

// inflated undoes permessage-deflate, up to limit bytes.
func inflated(p []byte, limit int) ([]byte, error) {
	out := limited{left: limit}
	err := wsflate.DefaultHelper.DecompressTo(&out, p)
	return out.Bytes(), err
}

// limited is a buffer for at most left bytes.
type limited struct {
	bytes.Buffer
	left int
}

func (l *limited) Write(p []byte) (int, error) {
	l.left -= len(p)
	if l.left < 0 {
		return 0, errInflated
	}
	return l.Buffer.Write(p)
}

// ReadFrom hides that of bytes.Buffer from io.Copy, which has no limit.
func (l *limited) ReadFrom(r io.Reader) (n int64, err error) {
	return io.Copy(struct{ io.Writer }{l}, r)
}
