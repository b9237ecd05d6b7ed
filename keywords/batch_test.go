package keywords_test

import (
	"fmt"

	"github.com/heliograph/heliograph/storage"
)

// batch is what the channel of a service brings; see message in wire.go.
type batch struct {
	Epoch   uint64
	N       uint64
	Changes []struct{ Name, Text string }
}

// readBatch reads it as any msgpack library would.
func readBatch(data string) (b batch, err error) {
	var elems []any
	if err := storage.MsgPack.Unmarshal([]byte(data), &elems); err != nil || len(elems) < 4 {
		return b, fmt.Errorf("%d elements: %w", len(elems), err)
	}
	epoch, _ := elems[1].(int64)
	b.Epoch = uint64(epoch)
	n, _ := elems[2].(int64)
	b.N = uint64(n)
	changes, _ := elems[3].([]any)
	for _, c := range changes {
		fields, _ := c.([]any)
		if len(fields) < 2 {
			return b, fmt.Errorf("a change of %d fields", len(fields))
		}
		name, _ := fields[0].(string)
		text, _ := fields[1].(string)
		b.Changes = append(b.Changes, struct{ Name, Text string }{name, text})
	}
	return b, nil
}
