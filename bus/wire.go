package bus

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unsafe"

	"github.com/heliograph/heliograph/storage"
)

// Frames are msgpack, encoded and decoded by hand: a call is packed and unpacked four
// times, which took a general encoder longer than all that Redis does for the call. https://github.com/msgpack/msgpack/blob/master/spec.md

func appendUint(b []byte, n uint64) []byte {
	switch {
	case n < 1<<7:
		return append(b, byte(n))
	case n < 1<<8:
		return append(b, 0xcc, byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(b, 0xcd), uint16(n))
	case n < 1<<32:
		return binary.BigEndian.AppendUint32(append(b, 0xce), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(b, 0xcf), n)
}

// blobHead has the first byte of the head of a string or of bytes, by the size of the
// length that follows.
type blobHead struct{ len8, len16, len32 byte }

var (
	strHead = blobHead{0xd9, 0xda, 0xdb}
	binHead = blobHead{0xc4, 0xc5, 0xc6}
)

func appendBlob[T ~string | ~[]byte](b []byte, head blobHead, data T) []byte {
	switch n := len(data); {
	case n < 32 && head == strHead:
		b = append(b, 0xa0|byte(n))
	case n < 1<<8:
		b = append(b, head.len8, byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, head.len16), uint16(n))
	default:
		b = binary.BigEndian.AppendUint32(append(b, head.len32), uint32(n))
	}
	return append(b, data...)
}

func appendHeader(b []byte, h Header) []byte {
	if len(h) == 0 {
		return append(b, 0xc0)
	}
	b = binary.BigEndian.AppendUint32(append(b, 0xdf), uint32(len(h)))
	for key, value := range h {
		b = appendBlob(b, strHead, key)
		b = appendBlob(b, strHead, value)
	}
	return b
}

// bytesOf returns the bytes of a string without a copy. The string was read from Redis
// and has no other user. Copies of all bodies would be a twentieth of the cost of a
// stream.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// cursor reads elements of a frame, which may be any bytes. It keeps the first error;
// after it all elements read as zero.
type cursor struct {
	rest string
	err  error
}

var errShort = errors.New("ends too early")

func (c *cursor) fail(err error) {
	if c.err == nil {
		c.err = err
	}
	c.rest = ""
}

// next returns the next n bytes.
func (c *cursor) next(n uint64) string {
	if n > uint64(len(c.rest)) {
		c.fail(errShort)
		return ""
	}
	s := c.rest[:n]
	c.rest = c.rest[n:]
	return s
}

func (c *cursor) byte() byte {
	if s := c.next(1); s != "" {
		return s[0]
	}
	return 0
}

// big reads a number of 1, 2, 4 or 8 bytes.
func (c *cursor) big(size uint64) (n uint64) {
	for _, b := range []byte(c.next(size)) {
		n = n<<8 | uint64(b)
	}
	return n
}

// open reads the head of a frame, which must have at least elems elements, and its
// version. It returns the number of further elements.
func (c *cursor) open(elems int) (more int) {
	n := c.array(2)
	if v := c.uint(); v != version {
		c.fail(fmt.Errorf("version %d is not %d", v, version))
	}
	if n < elems {
		c.fail(fmt.Errorf("%d elements, want %d", n, elems))
	}
	return n - elems
}

// array reads the head of an array with at least elems elements.
func (c *cursor) array(elems int) (n int) {
	switch head := c.byte(); {
	case head&0xf0 == 0x90:
		n = int(head & 0x0f)
	case head == 0xdc:
		n = int(c.big(2))
	default:
		c.fail(fmt.Errorf("byte %#x does not begin a frame", head))
	}
	if n < elems {
		c.fail(fmt.Errorf("%d elements, want %d", n, elems))
	}
	return n
}

// close checks that exactly the further elements follow.
func (c *cursor) close(more int) error {
	if c.err != nil {
		return c.err
	}
	if more == 0 && len(c.rest) == 0 {
		return nil
	}
	if more == 0 {
		return errors.New("more than one frame")
	}
	// Elements of later versions must be complete.
	var skipped []any
	head := binary.BigEndian.AppendUint16([]byte{0xdc}, uint16(more))
	return storage.MsgPack.Unmarshal(append(head, c.rest...), &skipped)
}

func (c *cursor) uint() uint64 {
	switch head := c.byte(); {
	case head < 0x80:
		return uint64(head)
	case head >= 0xcc && head <= 0xcf: // unsigned, 1 to 8 bytes
		return c.big(1 << (head - 0xcc))
	case head >= 0xd0 && head <= 0xd3: // signed: other encoders write positive numbers so
		size := uint64(1) << (head - 0xd0)
		if n := c.big(size); n>>(8*size-1) == 0 {
			return n
		}
		fallthrough
	default:
		c.fail(fmt.Errorf("byte %#x where a whole number is expected", head))
		return 0
	}
}

func (c *cursor) blob() string {
	switch head := c.byte(); {
	case head&0xe0 == 0xa0:
		return c.next(uint64(head & 0x1f))
	case head >= 0xc4 && head <= 0xc6:
		return c.next(c.big(1 << (head - 0xc4)))
	case head >= 0xd9 && head <= 0xdb:
		return c.next(c.big(1 << (head - 0xd9)))
	case head == 0xc0:
		return ""
	default:
		c.fail(fmt.Errorf("byte %#x where a string is expected", head))
		return ""
	}
}

func (c *cursor) codec() storage.Codec {
	n := c.uint()
	if n > 255 || !storage.Codec(n).Valid() {
		c.fail(fmt.Errorf("unknown codec %d", n))
	}
	return storage.Codec(n)
}

func (c *cursor) header() Header {
	n := uint64(0)
	switch head := c.byte(); {
	case head&0xf0 == 0x80:
		n = uint64(head & 0x0f)
	case head == 0xde:
		n = c.big(2)
	case head == 0xdf:
		n = c.big(4)
	case head == 0xc0:
	default:
		c.fail(fmt.Errorf("byte %#x where headers are expected", head))
	}
	if n == 0 {
		return nil
	}
	if 2*n > uint64(len(c.rest)) {
		c.fail(errShort)
		return nil
	}
	h := make(Header, min(n, 16)) // n is not checked yet
	for range n {
		key := c.blob()
		h[key] = c.blob()
	}
	return h
}
