package storage_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"io"
	"math"
	"math/big"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heliograph/heliograph/storage"
)

type inner struct {
	Note string `json:"note,omitempty"`
}

type everything struct {
	Name   string            `json:"name"`
	N      int64             `json:"n"`
	U      uint64            `json:"u"`
	F      float64           `json:"f"`
	On     bool              `json:"on"`
	At     time.Time         `json:"at"`
	For    time.Duration     `json:"for"`
	Raw    []byte            `json:"raw"`
	List   []inner           `json:"list"`
	Map    map[string]int    `json:"map"`
	Ptr    *inner            `json:"ptr"`
	Addr   netip.Addr        `json:"addr"`
	Big    *big.Int          `json:"big"`
	Hidden string            `json:"-"`
	Any    any               `json:"any"`
	Labels map[string]string `json:"labels,omitempty"`
	Empty  map[string]string `json:"empty,omitempty"`
	NoTag  string
	inner
}

func sample() everything {
	huge, _ := new(big.Int).SetString("123456789012345678901234567890", 10)
	return everything{
		Name: "Ωmega", N: math.MinInt64, U: math.MaxUint64, F: 0.1, On: true,
		At:  time.Date(2026, 11, 20, 19, 39, 1, 123456789, time.UTC),
		For: 90 * time.Second, Raw: []byte{0, 255}, List: []inner{{"a"}, {}}, Map: map[string]int{"x": 1}, Labels: map[string]string{"a": "1", "b": "2", "c": "3"},
		Ptr: &inner{"p"}, Addr: netip.MustParseAddr("fe80::1"), Big: huge, Any: int64(9007199254740993), NoTag: "plain",
		inner: inner{"embedded"},
	}
}

func TestOneStructThroughMsgPackAndJSON(t *testing.T) {
	t.Parallel()
	want := sample()
	for _, codec := range []storage.Codec{storage.MsgPack, storage.JSON} {
		data, err := codec.Marshal(want)
		require.NoError(t, err, codec)
		var got everything
		require.NoError(t, codec.Unmarshal(data, &got), codec)
		require.True(t, got.At.Equal(want.At), "%v: %v", codec, got.At)
		got.At = want.At
		require.Equal(t, want, got, codec)
		require.NotContains(t, string(data), "Hidden")

		again, err := codec.Marshal(want)
		require.NoError(t, err)
		require.Equal(t, data, again, "equal values are equal bytes")

		appended, err := codec.Append([]byte("head"), want)
		require.NoError(t, err)
		require.Equal(t, "head"+string(data), string(appended))
	}
}

func TestNumbersStayExactWhereTheTypeIsAny(t *testing.T) {
	t.Parallel()
	for _, codec := range []storage.Codec{storage.MsgPack, storage.JSON} {
		data, err := codec.Marshal(map[string]any{
			"big": int64(9007199254740993), "max": uint64(math.MaxUint64), "neg": int64(-5), "f": 1.5, "nested": []any{int64(200), int64(1) << 60, map[string]any{"x": int64(1)}},
		})
		require.NoError(t, err)
		var into any
		require.NoError(t, codec.Unmarshal(data, &into))
		require.Equal(t, map[string]any{
			"big": int64(9007199254740993), "max": uint64(math.MaxUint64), "neg": int64(-5), "f": 1.5, "nested": []any{int64(200), int64(1) << 60, map[string]any{"x": int64(1)}},
		}, into, codec)

		var inStruct struct {
			V any            `json:"big"`
			M map[string]any `json:"-"`
		}
		require.NoError(t, codec.Unmarshal(data, &inStruct))
		require.Equal(t, int64(9007199254740993), inStruct.V)
	}
	var v any
	require.NoError(t, storage.JSON.Unmarshal([]byte(`[123456789012345678901234567890, 1e3, 0.5]`), &v))
	require.Equal(t, []any{json.Number("123456789012345678901234567890"), 1000.0, 0.5}, v)
	var typed []map[string]any
	require.NoError(t, storage.JSON.Unmarshal([]byte(`[{"a":1}]`), &typed))
	require.Equal(t, []map[string]any{{"a": int64(1)}}, typed)
	var number struct{ N json.Number }
	require.NoError(t, storage.JSON.Unmarshal([]byte(`{"N":1}`), &number))
	require.Equal(t, json.Number("1"), number.N)
}

func TestTextAndRaw(t *testing.T) {
	t.Parallel()
	type named string
	for _, c := range []struct {
		v    any
		text string
	}{
		{"hällo", "hällo"}, {named("x"), "x"}, {[]byte("b\x00"), "b\x00"}, {true, "true"}, {-7, "-7"}, {uint8(200), "200"},
		{float32(0.1), "0.1"}, {math.Inf(1), "+Inf"}, {int64(math.MinInt64), "-9223372036854775808"},
		{netip.MustParseAddr("10.0.0.1"), "10.0.0.1"}, {struct{}{}, ""},
		{time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC), "2026-01-02T03:04:05.000000006Z"},
	} {
		data, err := storage.Text.Marshal(c.v)
		require.NoError(t, err)
		require.Equal(t, c.text, string(data))
		into := reflect.New(reflect.TypeOf(c.v))
		require.NoError(t, storage.Text.Unmarshal(data, into.Interface()))
		require.Equal(t, c.v, into.Elem().Interface())
	}
	var s any
	require.NoError(t, storage.Text.Unmarshal([]byte("x"), &s))
	require.Equal(t, "x", s)

	var b []byte
	data, err := storage.Raw.Marshal([]byte{1, 2})
	require.NoError(t, err)
	require.NoError(t, storage.Raw.Unmarshal(data, &b))
	require.Equal(t, []byte{1, 2}, b)
	data[0] = 9
	require.Equal(t, []byte{1, 2}, b, "a copy")
}

func TestCodecErrorsSayWhat(t *testing.T) {
	t.Parallel()
	var n int8
	var fn func()
	for _, c := range []struct {
		err  error
		want string
	}{
		{storage.Text.Unmarshal([]byte("300"), &n), `decode text into *int8: "300": value out of range`},
		{storage.Text.Unmarshal([]byte("x"), &n), `decode text into *int8: "x": invalid syntax`},
		{storage.Text.Unmarshal(nil, n), "decode text into int8: it is not a pointer"},
		{storage.Raw.Unmarshal(nil, &n), "decode raw into *int8: it is not []byte"},
		{storage.Raw.Unmarshal([]byte("x"), &struct{}{}), "1 bytes where none are expected"},
		{second(storage.Raw.Marshal("x")), "encode string as raw: it is not []byte"},
		{second(storage.Text.Marshal(map[string]int{})), "encode map[string]int as text: it has no plain text"},
		{second(storage.MsgPack.Marshal(fn)), "encode func() as msgpack"},
		{second(storage.JSON.Marshal(fn)), "encode func() as json"},
		{second(storage.Codec(9).Marshal(1)), "as codec(9): unknown codec"},
		{storage.Codec(9).Unmarshal(nil, &n), "decode codec(9)"},
		{storage.MsgPack.Unmarshal(nil, &n), "ends too early"},
		{storage.MsgPack.Unmarshal([]byte{1, 2}, &n), "more than one value"},
		{storage.MsgPack.Unmarshal([]byte{0xc1}, &n), "0xc1 is never used"},
		{storage.JSON.Unmarshal([]byte("1 2"), &n), "invalid character"},
		{storage.JSON.Unmarshal([]byte("1 2"), new(any)), "more than one value"},
		{storage.JSON.Unmarshal(nil, &n), "unexpected end"},
	} {
		require.ErrorContains(t, c.err, c.want)
	}
}

func second(_ []byte, err error) error { return err }

// Each claims more than it has, and must be refused before it is decoded.
func TestHostileMsgPack(t *testing.T) {
	for _, seed := range hostile(t) {
		var v any
		before := testing.AllocsPerRun(1, func() { require.Error(t, storage.MsgPack.Unmarshal(seed, &v)) })
		require.Less(t, before, 100.0)
	}
	deep := strings.Repeat("[", 129) + strings.Repeat("]", 129)
	require.ErrorContains(t, storage.JSON.Unmarshal([]byte(deep), new(any)), "nested deeper than 128")
	require.NoError(t, storage.JSON.Unmarshal([]byte(deep[1:len(deep)-1]), new(any)))
	require.NoError(t, storage.JSON.Unmarshal([]byte(`"`+deep+`\"["`), new(any)), "in a string they are text")
	packed := append(bytes.Repeat([]byte{0x91}, 128), 0xc0)
	require.NoError(t, storage.MsgPack.Unmarshal(packed, new(any)))
	require.ErrorContains(t, storage.MsgPack.Unmarshal(append([]byte{0x91}, packed...), new(any)), "nested deeper than 128")
}

func hostile(tb testing.TB) [][]byte {
	seeds := [][]byte{bytes.Repeat([]byte{0x91}, 1<<20)}
	for _, text := range []string{
		"dd7fffffff", "df0fffffff", "dc0002c0", "de0001c0", "c6ffffffff", "dbffffffff", "d9", "c9ffffffff00", "c7", "cf01", "d8", "91", "81a0",
	} {
		b, err := hex.DecodeString(text)
		require.NoError(tb, err)
		seeds = append(seeds, b)
	}
	return seeds
}

// What the check lets through must decode without a panic, and what was encoded
// must pass the check.
func FuzzMsgPack(f *testing.F) {
	for _, seed := range hostile(f) {
		f.Add(seed)
	}
	good, err := storage.MsgPack.Marshal(sample())
	require.NoError(f, err)
	f.Add(good)
	f.Fuzz(func(t *testing.T, data []byte) {
		var v any
		if storage.MsgPack.Unmarshal(data, &v) == nil {
			again, err := storage.MsgPack.Marshal(v)
			require.NoError(t, err)
			require.NoError(t, storage.MsgPack.Unmarshal(again, &v))
		}
		_ = storage.MsgPack.Unmarshal(data, new(everything))
		_ = storage.MsgPack.Unmarshal(data, new(map[string]int))
		_ = storage.MsgPack.Unmarshal(data, new([]string))
		_ = storage.MsgPack.Unmarshal(data, new(time.Time))
	})
}

// The verdict is that of encoding/json, but for depth.
func FuzzJSON(f *testing.F) {
	f.Add([]byte(`{"a":[1,2.5,"x\"[",null,true],"b":{"c":9007199254740993}}`))
	f.Add([]byte(`[[[[`))
	f.Add([]byte(`"\`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var ours, theirs any
		err := storage.JSON.Unmarshal(data, &ours)
		if err != nil && strings.Contains(err.Error(), "nested deeper") {
			return
		}
		dec := json.NewDecoder(bytes.NewReader(data))
		dec.UseNumber() // or 1e700 would be no number
		good := dec.Decode(&theirs) == nil
		if _, end := dec.Token(); end != io.EOF {
			good = false
		}
		require.Equal(t, good, err == nil, "%q: %v", data, err)
		_ = storage.JSON.Unmarshal(data, new(everything))
	})
}
