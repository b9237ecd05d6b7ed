package bus

import (
	"context"
	"reflect"
	"strings"
)

// Register registers, as [Handle] does, every exported method of obj that is a
//
//	func(context.Context, Req) (Res, error)
//
// under its Go name, and returns the names. Other methods of obj are ignored. A Serial
// worker runs the methods one at a time, so that obj needs no locks. Register panics
// if obj is nil or has no such method, and as Handle does.
func Register(w *Worker, obj any, opts ...HandleOptions) []string {
	var names []string
	v := reflect.ValueOf(obj)
	if !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil() {
		panic("bus: Register: nil")
	}
	for i := range v.NumMethod() {
		f, name := v.Method(i), v.Type().Method(i).Name
		t := f.Type()
		if t.NumIn() != 2 || t.NumOut() != 2 || t.IsVariadic() || t.In(0) != typeOf[context.Context]() || t.Out(1) != typeOf[error]() {
			continue
		}
		w.register(name, &method{args: t.In(1), result: t.Out(0)}, opts, reflected(f))
		names = append(names, name)
	}
	if len(names) == 0 {
		panic("bus: Register: " + strings.TrimPrefix(v.Type().String(), "*") + " has no exported method func(context.Context, Req) (Res, error)")
	}
	return names
}

// reflected is [typed] for a function whose types are known at run time only.
func reflected(f reflect.Value) func(context.Context, *task) (Body, error) {
	return func(ctx context.Context, t *task) (Body, error) {
		args := reflect.New(f.Type().In(1))
		if err := t.body.decode(args.Interface()); err != nil {
			return Body{}, &refusal{CodeBadArguments, err.Error()}
		}
		out := f.Call([]reflect.Value{reflect.ValueOf(ctx), args.Elem()})
		if err, _ := out[1].Interface().(error); err != nil {
			return Body{}, err
		}
		body, err := encode(t.body.Codec, out[0].Interface())
		if err != nil {
			return Body{}, &refusal{CodeBadResult, err.Error()}
		}
		return body, nil
	}
}
