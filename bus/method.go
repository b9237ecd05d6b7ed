package bus

import (
	"fmt"
	"strings"

	"github.com/heliograph/heliograph/storage"
)

// Method is a method of workers: its name, the type of its arguments and that of
// its result. Both sides share the value:
//
//	var Add = bus.NewMethod[AddArgs, int]("add")
type Method[A, R any] struct {
	name  string
	codec storage.Codec
}

// NewMethod returns the method of that name. It panics on a name that is empty,
// longer than 255 bytes, or holds a space, a control character or any of
// : * ? [ ] { } \.
func NewMethod[A, R any](name string) Method[A, R] {
	if err := checkName("method", name); err != nil {
		panic(err)
	}
	return Method[A, R]{name: name}
}

// Name returns the method's name.
func (m Method[A, R]) Name() string { return m.name }

// WithCodec returns a copy whose calls travel in another codec than
// [storage.MsgPack]. Workers take any and answer in the caller's.
func (m Method[A, R]) WithCodec(codec storage.Codec) Method[A, R] {
	if !codec.Valid() {
		panic(fmt.Errorf("bus: method %s: unknown %v", m.name, codec))
	}
	m.codec = codec
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

// Address names who is to answer a call: a [Group] or, with [Direct], one
// worker.
type Address struct {
	typ string
	id  string // of Direct
}

// Group is any one worker of a type.
func Group(typ string) Address { return Address{typ: typ} }

// Direct is the worker with that id, as [WorkerInfo] has it.
func Direct(id string) Address {
	typ, _, _ := strings.Cut(id, ":")
	return Address{typ: typ, id: id}
}

// String returns "group calc" or "worker calc:host:4711:k3j9x2".
func (a Address) String() string {
	if a.id != "" {
		return "worker " + a.id
	}
	return "group " + a.typ
}

func (a Address) check() error {
	if a.id == "" {
		return checkName("type", a.typ)
	}
	parts := strings.Split(a.id, ":")
	if len(parts) != 4 {
		return fmt.Errorf("bus: worker id %q: want type:host:pid:uid", a.id)
	}
	for _, part := range parts {
		if err := checkName("worker id", part); err != nil {
			return err
		}
	}
	return nil
}

// checkName checks a part of a key. A colon would let one name pass for two.
func checkName(kind, name string) error {
	if err := storage.CheckName(name); err != nil {
		return fmt.Errorf("bus: %s: %w", kind, err)
	}
	if strings.Contains(name, ":") {
		return fmt.Errorf("bus: %s: name %q: ':' is not allowed", kind, name)
	}
	return nil
}
