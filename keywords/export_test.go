package keywords

import (
	"context"

	"github.com/heliograph/heliograph/storage"
)

func Encode[T Type](k Keyword[T], v T) any          { return k.encode(v) }
func Decode[T Type](k Keyword[T], v any) (T, error) { return k.decode(v) }

var Near = near

// BeginLate does what a dispatcher does at its start, after another dispatcher has
// acquired its lease.
func BeginLate(ctx context.Context, d *Dispatcher) (loaded, published error) {
	client := d.pool.Redis()
	d.lease.client, d.definitions.client, d.commits.client = client, client, client
	d.lease.epoch, d.lease.token = 1, "1:"+d.worker.ID()
	loaded = d.owning(func() error { _, err := d.commits.load(ctx, d); return err })
	return loaded, d.owning(func() error { return d.definitions.publish(ctx) })
}

// A Mark is what a value's mark says.
type Mark struct {
	Rev            Revision
	At             int64
	Severity       Severity
	Source, Remark string
}

func (m Mark) Text() string {
	r := record{rev: m.Rev, at: m.At, severity: m.Severity, source: m.Source, remark: m.Remark}
	return r.mark()
}

func ReadMark(text string) Mark {
	r, _ := readRecord("NAME", []any{"value", text})
	return Mark{r.rev, r.at, r.severity, r.source, r.remark}
}

// Repack sends one change through a message.
func Repack(name, text string, m Mark) (gotName, gotText string, got Mark, err error) {
	sent := message{Dispatcher: "main", Epoch: m.Rev.Epoch, N: m.Rev.N, Changes: []change{{Name: name, Text: text, At: m.At, Severity: m.Severity, Source: m.Source, Remark: m.Remark}}}
	data, err := storage.MsgPack.Marshal(&sent)
	if err != nil {
		return "", "", Mark{}, err
	}
	var received message
	if err := storage.MsgPack.Unmarshal(data, &received); err != nil {
		return "", "", Mark{}, err
	}
	c := received.Changes[0]
	return c.Name, c.Text, Mark{Revision{received.Epoch, received.N}, c.At, c.Severity, c.Source, c.Remark}, nil
}
