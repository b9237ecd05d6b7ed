package storage

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/vmihailenco/msgpack/v5"
)

// Codec encodes values. All codecs use the struct tag `json`, so that one struct serves
// every package and a browser. Decoded into an any, a whole number is an int64, or a
// uint64 if only that holds it.
type Codec uint8

const (
	// MsgPack is compact and keeps integers and times exact. The default.
	MsgPack Codec = iota
	// JSON is for browsers, shells and logs. Decoded into an any, a number too large
	// for 64 bits is a json.Number. The characters <, > and & are not escaped.
	JSON
	// Text is the plain text of a string, []byte, bool, number or
	// encoding.TextMarshaler; struct{} is empty.
	Text
	// Raw is the bytes of a []byte; struct{} is empty.
	Raw

	codecs // number of codecs
)

var codecNames = [codecs]string{"msgpack", "json", "text", "raw"}

// String returns msgpack, json, text or raw.
func (c Codec) String() string {
	if c < codecs {
		return codecNames[c]
	}
	return fmt.Sprintf("codec(%d)", uint8(c))
}

// Valid reports whether c is one of the constants.
func (c Codec) Valid() bool { return c < codecs }

// Marshal returns v encoded.
func (c Codec) Marshal(v any) ([]byte, error) { return c.Append(nil, v) }

// Append appends v encoded. On an error it returns dst unchanged.
func (c Codec) Append(dst []byte, v any) ([]byte, error) {
	n := len(dst)
	var err error
	switch c {
	case MsgPack:
		dst, err = appendMsgPack(dst, v)
	case JSON:
		dst, err = appendJSON(dst, v)
	case Text:
		dst, err = appendText(dst, v)
	case Raw:
		dst, err = appendRaw(dst, v)
	default:
		err = errors.New("unknown codec")
	}
	if err != nil {
		return dst[:n], fmt.Errorf("storage: encode %T as %s: %w", v, c, err)
	}
	return dst, nil
}

// Unmarshal decodes data into v, a non-nil pointer. Data may come from outside: it is
// checked before it is decoded, and must be exactly one value.
func (c Codec) Unmarshal(data []byte, v any) error {
	var err error
	switch c {
	case MsgPack:
		err = readMsgPack(data, v)
	case JSON:
		err = readJSON(data, v)
	case Text:
		err = readText(data, v)
	case Raw:
		err = readRaw(data, v)
	default:
		err = errors.New("unknown codec")
	}
	if err != nil {
		return fmt.Errorf("storage: decode %s into %T: %w", c, v, err)
	}
	return nil
}

// packer is an Encoder that appends to a slice.
type packer struct {
	enc *msgpack.Encoder
	buf []byte
}

func (p *packer) Write(b []byte) (int, error) {
	p.buf = append(p.buf, b...)
	return len(b), nil
}

func (p *packer) WriteByte(c byte) error {
	p.buf = append(p.buf, c)
	return nil
}

var packers = sync.Pool{New: func() any {
	p := &packer{}
	p.enc = msgpack.NewEncoder(p)
	p.enc.SetCustomStructTag("json")
	p.enc.UseCompactInts(true)
	p.enc.SetSortMapKeys(true) // so that equal maps have equal encodings, as in JSON; works for keys of strings, bools and any
	return p
}}

// maxScratch is the largest buffer that a packer keeps.
const maxScratch = 64 << 10

func appendMsgPack(dst []byte, v any) ([]byte, error) {
	if data, ok := v.([]byte); ok && data != nil {
		return appendMsgPackBytes(dst, data), nil
	}
	p := packers.Get().(*packer)
	defer packers.Put(p)
	p.buf = p.buf[:0]
	err := p.enc.Encode(v)
	dst = append(dst, p.buf...)
	if cap(p.buf) > maxScratch {
		p.buf = nil
	}
	return dst, err
}

// appendMsgPackBytes saves two copies of large []byte values, such as chunks of files and
// frames of cameras.
func appendMsgPackBytes(dst, data []byte) []byte {
	dst = slices.Grow(dst, len(data)+5)
	switch n := len(data); {
	case n < 1<<8:
		dst = append(dst, 0xc4, byte(n))
	case n < 1<<16:
		dst = binary.BigEndian.AppendUint16(append(dst, 0xc5), uint16(n))
	default:
		dst = binary.BigEndian.AppendUint32(append(dst, 0xc6), uint32(n))
	}
	return append(dst, data...)
}

// unpacker is a Decoder that reads a slice.
type unpacker struct {
	dec *msgpack.Decoder
	src bytes.Reader
}

var unpackers = sync.Pool{New: func() any {
	u := &unpacker{}
	u.dec = msgpack.NewDecoder(&u.src)
	u.dec.SetCustomStructTag("json")
	u.dec.UseLooseInterfaceDecoding(true)
	return u
}}

func readMsgPack(data []byte, v any) error {
	if err := checkMsgPack(data); err != nil {
		return err
	}
	u := unpackers.Get().(*unpacker)
	defer unpackers.Put(u)
	u.src.Reset(data)
	u.dec.ResetReader(&u.src)
	defer u.src.Reset(nil)
	if old, ok := v.(*any); ok && old != nil {
		*old = nil // otherwise it is decoded into the value that it holds
	}
	if err := u.dec.Decode(v); err != nil {
		return err
	}
	if holdsAny(v) {
		settleNumbers(v)
	}
	return nil
}

func appendJSON(dst []byte, v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return dst, err
	}
	return append(dst, bytes.TrimSuffix(b.Bytes(), []byte("\n"))...), nil
}

func readJSON(data []byte, v any) error {
	if err := checkJSON(data); err != nil {
		return err
	}
	if !holdsAny(v) {
		return json.Unmarshal(data, v)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	if err := dec.Decode(v); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one value")
	}
	settleNumbers(v)
	return nil
}
