package keywords

import (
	"context"
	"strconv"

	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/storage"
)

// commitScript is what one script is told of a batch. The committer has one, for its
// buffers.
type commitScript struct {
	keys    []string
	args    []any
	msg     message
	logs    []string // and of each
	past    []any    // how long it may be, and its new line
	inboxes []inbox
}

// inbox is that of a client, and the replies to it.
type inbox struct {
	key    string
	frames [][]byte
}

// write carries out one commit. It may be carried out again: a script that was
// says so.
func (d *Dispatcher) runCommit(batch []staged) error {
	f := &d.script
	defer f.clear()
	f.keys = append(f.keys, d.service.owner(d.cfg.Name), d.service.meta(d.cfg.Name))
	for i := range batch {
		if st := &batch[i]; st.write {
			if err := d.addValue(st); err != nil {
				return err
			}
			d.addReply(st)
		}
	}
	count := len(f.msg.Changes)
	if count == 0 {
		return nil // replies only
	}
	f.msg.Dispatcher = d.cfg.Name
	payload, err := storage.MsgPack.Marshal(&f.msg)
	if err != nil {
		return err
	}
	before, after := f.msg.N-1, f.msg.N+uint64(count)-1
	f.args = append(f.args, d.token, f.msg.Epoch, strconv.FormatUint(before, 10), strconv.FormatUint(after, 10), d.channel, payload, count, len(f.logs))
	for i := range batch {
		if st := &batch[i]; st.write {
			f.args = append(f.args, &st.rec.text, st.rec.mark())
		}
	}
	f.keys = append(f.keys, f.logs...)
	f.args = append(f.args, f.past...)
	for _, in := range f.inboxes {
		f.keys = append(f.keys, in.key)
		f.args = append(f.args, len(in.frames))
		for _, frame := range in.frames {
			f.args = append(f.args, frame)
		}
	}
	d.expect(batch)
	ctx := context.Background() // the client bounds it
	d.stats.commits.Add(1)
	cmd := luaCommit.Run(ctx, d.client, f.keys, f.args...)
	if err := cmd.Err(); err != nil || cmd.Val() == int64(0) {
		d.expectNone(batch)
		return redisio.Normalize(ctx, err)
	}
	return nil
}

// draftValue adds a value, and its line of the log.
func (d *Dispatcher) addValue(st *staged) error {
	f, r := &d.script, &st.rec
	if len(f.msg.Changes) == 0 {
		f.msg.Epoch, f.msg.N = r.rev.Epoch, r.rev.N
	}
	f.keys = append(f.keys, st.served.key)
	ch := change{Name: r.name, Text: r.text, At: r.at, Severity: r.severity, Source: r.source}
	if st.served.def.NoBroadcast {
		ch = change{Name: r.name, At: r.at, Silent: true}
	}
	f.msg.Changes = append(f.msg.Changes, ch)
	if n := st.served.def.History; n > 0 {
		line, err := storage.JSON.Marshal([]any{r.text, r.rev.String(), r.at, r.severity, r.source})
		if err != nil {
			return err
		}
		f.logs, f.past = append(f.logs, d.service.log(r.name)), append(f.past, n, line)
	}
	return nil
}

// draftReply adds the reply to the writer who waits for a value, if one script
// can write it along: in a cluster his inbox lives elsewhere.
func (d *Dispatcher) addReply(st *staged) {
	if st.pending == nil || d.clustered {
		return
	}
	key, frame := st.pending.Pack(storage.Text, []byte(st.rec.rev.String()))
	if key == "" {
		return
	}
	f := &d.script
	for i := range f.inboxes {
		if in := &f.inboxes[i]; in.key == key {
			in.frames = append(in.frames, frame)
			return
		}
	}
	f.inboxes = append(f.inboxes, inbox{key, [][]byte{frame}})
}

// clear keeps the buffers, and nothing that is in them.
func (f *commitScript) clear() {
	clear(f.keys)
	clear(f.args)
	clear(f.msg.Changes)
	clear(f.inboxes)
	f.keys, f.args, f.logs, f.past, f.inboxes = f.keys[:0], f.args[:0], nil, nil, f.inboxes[:0]
	f.msg = message{Changes: f.msg.Changes[:0]}
}
