package bus

import (
	"fmt"
	"strings"

	"github.com/heliograph/heliograph/storage"
)

// builtinPrefix begins the names of the methods that every worker has.
const builtinPrefix = "bus."

// Method is a method of workers: its name, the type of its arguments and that of
// its result. Both sides share the value:
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

// mustBeFree panics if name can't be that of a host's method.
func mustBeFree(name string) {
	if err := checkName("method", name); err != nil {
		panic(err)
	}
	if strings.HasPrefix(name, builtinPrefix) {
		panic(fmt.Errorf("bus: method: name %q: %q is for the methods that every worker has", name, builtinPrefix))
	}
}

// Name returns the method's name.
func (m Method[A, R]) Name() string { return m.name }

// WithCodec returns a copy whose calls travel in another codec than
// [storage.MsgPack]. Workers take any and answer in the caller's.
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

// Idempotent returns a copy for a method that may be run twice: a call to a
// [Group] whose worker is lost, or stops before it has answered, is made again
// at another, up to [Retry].Attempts times, and the first reply counts.
func (m Method[A, R]) Idempotent() Method[A, R] {
	m.idempotent = true
	return m
}

// Body is an encoded value and the form it is in. No Data at all is decoded as a
// zero value: a method without arguments needs none.
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
