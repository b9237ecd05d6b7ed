package bus

import (
	"fmt"
	"strings"

	"github.com/heliograph/heliograph/storage"
)

// builtinPrefix begins the names of the built-in methods.
const builtinPrefix = "bus."

// Method is a method of workers. It has a name, the type A of its arguments and the
// type R of its result. Clients and workers share the value:
//
//	var Add = bus.NewMethod[AddArgs, int]("add")
type Method[A, R any] struct {
	name       string
	codec      storage.Codec
	idempotent bool
}

// NewMethod returns the method of that name. It panics on a name that is empty,
// longer than 255 bytes, begins with "bus.", or holds a space, a control
// character or any of : * ? [ ] { } \.
func NewMethod[A, R any](name string) Method[A, R] {
	mustBeFree(name)
	return Method[A, R]{name: name}
}

// mustBeFree panics if name is not valid, or reserved for built-in methods.
func mustBeFree(name string) {
	if err := checkName("method", name); err != nil {
		panic(err)
	}
	if strings.HasPrefix(name, builtinPrefix) {
		panic(fmt.Errorf("bus: method: name %q: names that begin with %q are reserved for built-in methods", name, builtinPrefix))
	}
}

// Name returns the method's name.
func (m Method[A, R]) Name() string { return m.name }

// Codec returns the codec of the method's arguments.
func (m Method[A, R]) Codec() storage.Codec { return m.codec }

// WithCodec returns a copy whose arguments are encoded by codec. The default is
// [storage.MsgPack]. Workers decode any codec and answer in the caller's.
func (m Method[A, R]) WithCodec(codec storage.Codec) Method[A, R] {
	mustBeValid(m.name, codec)
	m.codec = codec
	return m
}

func mustBeValid(method string, codec storage.Codec) {
	if !codec.Valid() {
		panic(fmt.Errorf("bus: method %s: unknown %v", method, codec))
	}
}

// Idempotent returns a copy for a method that may run twice. If the worker of a call
// to a [Group] is lost, or stops before it has answered, the call is made again, in at
// most [Retry].Attempts attempts. The first reply counts. The context of its handler ends
// when the lease of the worker has lapsed; see [ErrLeaseLapsed].
func (m Method[A, R]) Idempotent() Method[A, R] {
	m.idempotent = true
	return m
}

// Body is an encoded value and its codec. Empty Data is decoded as a zero value, except
// with the codecs Text and Raw.
type Body struct {
	Codec storage.Codec
	Data  []byte
}

func encode(codec storage.Codec, v any) (Body, error) {
	data, err := codec.Marshal(v)
	return Body{codec, data}, err
}

func (b Body) decode(v any) error {
	if len(b.Data) == 0 && b.Codec != storage.Text && b.Codec != storage.Raw {
		return nil
	}
	return b.Codec.Unmarshal(b.Data, v)
}
