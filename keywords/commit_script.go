package keywords

import (
	"context"
	"strconv"

	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/storage"
)

// commitScript collects the keys and arguments of luaCommit for a batch. The committer uses
// one again and again, for its buffers.
type commitScript struct {
	keys    []string
	args    []any
	msg     message
	logs    []string // keys of histories
	past    []any    // for each of logs: its length, the id of its new line, the line
	inboxes []inbox
}

// inbox is the inbox of a client, with the replies to it.
type inbox struct {
	key    string
	frames [][]byte
}

// write commits a batch. It may be called again for the same batch: a script that was
// carried out before does nothing.
func (c *committer) write(batch []staged) error {
	f := &c.script
	defer f.clear()
	f.keys = append(f.keys, c.lease.service.owner(c.lease.name), c.lease.service.meta(c.lease.name))
	for i := range batch {
		if st := &batch[i]; st.write {
			if err := c.addValue(st); err != nil {
				return err
			}
			c.addReply(st)
		}
	}
	count := len(f.msg.Changes)
	if count == 0 {
		return nil // replies only
	}
	f.msg.Dispatcher = c.lease.name
	payload, err := storage.MsgPack.Marshal(&f.msg)
	if err != nil {
		return err
	}
	before, after := f.msg.N-1, f.msg.N+uint64(count)-1
	f.args = append(f.args, c.lease.owner(), strconv.FormatUint(f.msg.Epoch, 10), strconv.FormatUint(before, 10), strconv.FormatUint(after, 10), c.channel, payload, count, len(f.logs))
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
	c.external.expect(batch)
	c.stats.commits.Add(1)
	ctx := context.Background() // the client has a read timeout
	cmd := luaCommit.Run(ctx, c.client, f.keys, f.args...)
	if err := cmd.Err(); err != nil || cmd.Val() == int64(0) {
		c.external.expectNone(batch)
		return redisio.Normalize(ctx, err)
	}
	return nil
}

// addValue adds a value and the line of its history.
func (c *committer) addValue(st *staged) error {
	f, r := &c.script, &st.rec
	if len(f.msg.Changes) == 0 {
		f.msg.Epoch, f.msg.N = r.rev.Epoch, r.rev.N
	}
	f.keys = append(f.keys, st.served.key)
	ch := change{Name: r.name, Text: r.text, At: r.at, Severity: r.severity, Source: r.source, Remark: r.remark}
	if st.served.def.NoBroadcast {
		ch = change{Name: r.name, At: r.at, Silent: true}
	}
	if st.logs() {
		line, err := historyLine(r, st.prev)
		if err != nil {
			return err
		}
		f.logs, f.past = append(f.logs, c.lease.service.log(r.name)), append(f.past, st.served.def.History, r.rev.entryID(), line)
		ch.After = &st.prev
	}
	f.msg.Changes = append(f.msg.Changes, ch)
	return nil
}

// addReply adds the reply to the writer that waits for a value, if the script can
// write it too: in a cluster the writer's inbox has another slot.
func (c *committer) addReply(st *staged) {
	if st.pending == nil || c.clustered {
		return
	}
	key, frame := st.pending.Pack(storage.Text, []byte(st.rec.rev.String()))
	if key == "" {
		return
	}
	f := &c.script
	for i := range f.inboxes {
		if in := &f.inboxes[i]; in.key == key {
			in.frames = append(in.frames, frame)
			return
		}
	}
	f.inboxes = append(f.inboxes, inbox{key, [][]byte{frame}})
}

// clear empties the buffers and keeps their memory.
func (f *commitScript) clear() {
	clear(f.keys)
	clear(f.args)
	clear(f.msg.Changes)
	clear(f.inboxes)
	f.keys, f.args, f.logs, f.past, f.inboxes = f.keys[:0], f.args[:0], nil, nil, f.inboxes[:0]
	f.msg = message{Changes: f.msg.Changes[:0]}
}
