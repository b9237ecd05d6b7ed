package bus_test

import (
	"encoding/hex"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vmihailenco/msgpack/v5"

	"github.com/heliograph/heliograph/bus"
)

// requestFrame is a request as any msgpack library writes it.
func requestFrame(tb testing.TB, elems ...any) []byte {
	frame, err := msgpack.Marshal(append([]any{1, 0, 7, "host:1:abc", "add", 1, 1763667541000, 1763667571000, 64, 1048576, 1763667551000, 1, map[string]string{"k": "v"}, []byte("{}")}, elems...))
	require.NoError(tb, err)
	return frame
}

func replyFrame(tb testing.TB, elems ...any) []byte {
	frame, err := msgpack.Marshal(append([]any{1, 2, 7, "calc:host:1:abc", 300, "failed", "text", 0, nil, []byte{0xc0}}, elems...))
	require.NoError(tb, err)
	return frame
}

// Frames are msgpack that other programs can write and read; fields that a later
// version appends are skipped.
func TestFramesAreMsgPack(t *testing.T) {
	for _, frame := range [][]byte{requestFrame(t), requestFrame(t, "later", map[string]any{"x": 1})} {
		again, err := bus.UnpackRequest(frame)
		require.NoError(t, err)
		var elems []any
		require.NoError(t, msgpack.Unmarshal(again, &elems))
		require.EqualValues(t, []any{int8(1), int8(0), int8(7), "host:1:abc", "add", int8(1), uint64(1763667541000), uint64(1763667571000), int8(64), uint32(1048576), uint64(1763667551000), int8(1), map[string]any{"k": "v"}, []byte("{}")}, elems)
	}
	for _, frame := range [][]byte{replyFrame(t), replyFrame(t, "later")} {
		again, err := bus.UnpackReply(frame)
		require.NoError(t, err)
		var elems []any
		require.NoError(t, msgpack.Unmarshal(again, &elems))
		require.EqualValues(t, []any{int8(1), int8(2), int8(7), "calc:host:1:abc", uint16(300), "failed", "text", int8(0), nil, []byte{0xc0}}, elems)
	}
}

func noticeFrame(tb testing.TB, elems ...any) []byte {
	frame, err := msgpack.Marshal(append([]any{1, 2, 7, "host:1:abc", 32, 65536}, elems...))
	require.NoError(tb, err)
	return frame
}

func TestMalformedFramesAreRefused(t *testing.T) {
	for text, want := range map[string]string{
		"":                                     "ends too early",
		"00":                                   "byte 0x0 does not begin a frame",
		"980100000000000000":                   "8 elements, want 14",
		"9e02":                                 "version 2 is not 1",
		"9e0103":                               "kind 3 is unknown here",
		"9e0100ff":                             "byte 0xff where a whole number is expected",
		"9e0100d0ff":                           "byte 0xd0 where a whole number is expected",
		"9e010001dbffffffff":                   "ends too early",
		"9e010001a0a009":                       "unknown codec 9",
		"9e010001a0a000000000000000df0fffffff": "ends too early",
		"9e010001a0a000000000000000c0c0c0":     "more than one frame",
		"9f010001a0a000000000000000c0c0":       "ends too early",
		"9f010001a0a000000000000000c0c0dd7fffffff": "ends too early",
	} {
		frame, err := hex.DecodeString(text)
		require.NoError(t, err)
		_, err = bus.UnpackRequest(frame)
		require.ErrorContains(t, err, want, text)
	}
	_, err := bus.UnpackReply([]byte{0x9a, 1, 5})
	require.ErrorContains(t, err, "kind 5 is unknown here")
	_, err = bus.UnpackNotice([]byte{0x96, 1, 0})
	require.ErrorContains(t, err, "kind 0 is unknown here")
}

func FuzzFrames(f *testing.F) {
	f.Add(requestFrame(f))
	f.Add(requestFrame(f, "later"))
	f.Add(replyFrame(f))
	f.Add(noticeFrame(f))
	f.Add([]byte{0xdd, 0x7f, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, unpack := range []func([]byte) ([]byte, error){bus.UnpackRequest, bus.UnpackReply, bus.UnpackNotice} {
			again, err := unpack(data)
			if err != nil {
				continue
			}
			twice, err := unpack(again)
			require.NoError(t, err, "what was read can be written and read")
			require.Len(t, twice, len(again)) // maps have no order
		}
	})
}
