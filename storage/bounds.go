package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// maxDepth is how deep arrays and maps may nest in data from outside.
// encoding/json allows 10,000 and msgpack has no limit: 1 MiB of the byte 0x91,
// arrays of one, overflows the stack.
const maxDepth = 128

var (
	errDepth     = fmt.Errorf("nested deeper than %d", maxDepth)
	errTruncated = errors.New("ends too early")
)

// checkMsgPack makes one pass over data without allocating: it must be one
// value, whose every length fits the bytes that are there. The format is
// https://github.com/msgpack/msgpack/blob/master/spec.md.
func checkMsgPack(data []byte) error {
	var open [maxDepth]uint64 // number of values still to come, by depth
	depth := 0
	rest := data
	for {
		size, children, tail, err := msgpackHead(rest)
		if err != nil {
			return err
		}
		if size > uint64(len(tail)) || children > uint64(len(tail)) {
			return errTruncated // a child takes a byte at least
		}
		rest = tail[size:]
		if children > 0 {
			if depth == maxDepth {
				return errDepth
			}
			open[depth] = children
			depth++
			continue
		}
		for depth > 0 {
			open[depth-1]--
			if open[depth-1] > 0 {
				break
			}
			depth--
		}
		if depth == 0 {
			if len(rest) > 0 {
				return errors.New("more than one value")
			}
			return nil
		}
	}
}

// msgpackHead reads the head of a value: the bytes that follow it as payload,
// the values that follow it as children, and the data after the head.
func msgpackHead(b []byte) (size, children uint64, tail []byte, err error) {
	if len(b) == 0 {
		return 0, 0, nil, errTruncated
	}
	c, b := b[0], b[1:]
	lengthBytes := 0
	switch {
	case c <= 0x7f || c >= 0xe0: // fixint
		return 0, 0, b, nil
	case c <= 0x8f: // fixmap
		return 0, 2 * uint64(c&0x0f), b, nil
	case c <= 0x9f: // fixarray
		return 0, uint64(c & 0x0f), b, nil
	case c <= 0xbf: // fixstr
		return uint64(c & 0x1f), 0, b, nil
	case c == 0xc1:
		return 0, 0, nil, errors.New("byte 0xc1 is never used")
	case c <= 0xc3: // nil, false, true
		return 0, 0, b, nil
	case c >= 0xca && c <= 0xd3: // float 32 and 64; uint and int 8, 16, 32, 64
		return [...]uint64{4, 8, 1, 2, 4, 8, 1, 2, 4, 8}[c-0xca], 0, b, nil
	case c >= 0xd4 && c <= 0xd8: // fixext 1, 2, 4, 8, 16 and the type
		return 1<<(c-0xd4) + 1, 0, b, nil
	case c >= 0xd9 && c <= 0xdb: // str 8, 16, 32
		lengthBytes = 1 << (c - 0xd9)
	case c >= 0xdc: // array 16, 32; map 16, 32
		lengthBytes = 2 << ((c - 0xdc) & 1)
	default: // bin 8, 16, 32 from 0xc4; ext 8, 16, 32 from 0xc7
		lengthBytes = 1 << ((c - 0xc4) % 3)
	}
	if len(b) < lengthBytes {
		return 0, 0, nil, errTruncated
	}
	var buf [8]byte
	copy(buf[8-lengthBytes:], b[:lengthBytes])
	n := binary.BigEndian.Uint64(buf[:])
	b = b[lengthBytes:]
	switch {
	case c == 0xdc || c == 0xdd:
		return 0, n, b, nil
	case c == 0xde || c == 0xdf:
		return 0, 2 * n, b, nil
	case c >= 0xc7 && c <= 0xc9:
		return n + 1, 0, b, nil // and the type
	default:
		return n, 0, b, nil
	}
}

// checkJSON bounds the depth; encoding/json checks everything else.
func checkJSON(data []byte) error {
	depth, inString := 0, false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '[' || c == '{':
			depth++
			if depth > maxDepth {
				return errDepth
			}
		case c == ']' || c == '}':
			depth--
		}
	}
	return nil
}
