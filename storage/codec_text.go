package storage

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"strconv"
)

func appendText(dst []byte, v any) ([]byte, error) {
	if m, ok := v.(encoding.TextMarshaler); ok {
		text, err := m.MarshalText()
		return append(dst, text...), err
	}
	rv := reflect.ValueOf(v)
	switch rv.Kind() {
	case reflect.String:
		return append(dst, rv.String()...), nil
	case reflect.Bool:
		return strconv.AppendBool(dst, rv.Bool()), nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return strconv.AppendInt(dst, rv.Int(), 10), nil
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		return strconv.AppendUint(dst, rv.Uint(), 10), nil
	case reflect.Float32, reflect.Float64:
		return strconv.AppendFloat(dst, rv.Float(), 'g', -1, rv.Type().Bits()), nil
	}
	if dst, err := appendRaw(dst, v); err == nil {
		return dst, nil
	}
	return dst, errors.New("it has no plain text")
}

func readText(data []byte, v any) error {
	rv, err := target(v)
	if err != nil {
		return err
	}
	if u, ok := v.(encoding.TextUnmarshaler); ok {
		return u.UnmarshalText(data)
	}
	s := string(data)
	switch rv.Kind() {
	case reflect.String:
		rv.SetString(s)
	case reflect.Bool:
		b, err := strconv.ParseBool(s)
		if err != nil {
			return plainErr(s, err)
		}
		rv.SetBool(b)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		n, err := strconv.ParseInt(s, 10, rv.Type().Bits())
		if err != nil {
			return plainErr(s, err)
		}
		rv.SetInt(n)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		n, err := strconv.ParseUint(s, 10, rv.Type().Bits())
		if err != nil {
			return plainErr(s, err)
		}
		rv.SetUint(n)
	case reflect.Float32, reflect.Float64:
		f, err := strconv.ParseFloat(s, rv.Type().Bits())
		if err != nil {
			return plainErr(s, err)
		}
		rv.SetFloat(f)
	case reflect.Interface:
		if rv.NumMethod() > 0 {
			return errors.New("it has no plain text")
		}
		rv.Set(reflect.ValueOf(s))
	default:
		return setRaw(rv, data)
	}
	return nil
}

// plainErr drops the name of the strconv function.
func plainErr(s string, err error) error {
	var num *strconv.NumError
	if errors.As(err, &num) {
		err = num.Err
	}
	return fmt.Errorf("%.40q: %w", s, err)
}

func appendRaw(dst []byte, v any) ([]byte, error) {
	rv := reflect.ValueOf(v)
	switch {
	case rv.Kind() == reflect.Slice && rv.Type().Elem().Kind() == reflect.Uint8:
		return append(dst, rv.Bytes()...), nil
	case rv.Kind() == reflect.Struct && rv.NumField() == 0:
		return dst, nil
	}
	return dst, errors.New("it is not []byte")
}

func readRaw(data []byte, v any) error {
	rv, err := target(v)
	if err != nil {
		return err
	}
	return setRaw(rv, data)
}

func setRaw(rv reflect.Value, data []byte) error {
	switch {
	case rv.Kind() == reflect.Slice && rv.Type().Elem().Kind() == reflect.Uint8:
		rv.SetBytes(append([]byte{}, data...))
	case rv.Kind() == reflect.Interface && rv.NumMethod() == 0:
		rv.Set(reflect.ValueOf(append([]byte{}, data...)))
	case rv.Kind() == reflect.Struct && rv.NumField() == 0:
		if len(data) > 0 {
			return fmt.Errorf("%d bytes where none are expected", len(data))
		}
	default:
		return errors.New("it is not []byte")
	}
	return nil
}

func target(v any) (reflect.Value, error) {
	rv := reflect.ValueOf(v)
	if rv.Kind() != reflect.Pointer || rv.IsNil() {
		return rv, errors.New("it is not a pointer")
	}
	return rv.Elem(), nil
}
