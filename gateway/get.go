package gateway

import (
	"context"
	"strconv"
	"strings"

	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/pubsub"
	"github.com/heliograph/heliograph/storage"
)

// readScript returns the values of a hash, or which limit they exceed, with the number of
// fields looked at. With a channel it publishes the token there: what Redis sends on any
// channel after it was published after the hash was read.
//
// KEYS: hash. ARGV: maximum fields, maximum bytes, field ("" for all), channel ("" for
// none), token.
var readScript = redisio.NewScript(`
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'hash' and kind ~= 'none' then return {'type'} end
local all
if ARGV[3] ~= '' then
  if redis.call('HSTRLEN', KEYS[1], ARGV[3]) > tonumber(ARGV[2]) then return {'bytes', 1} end
  all = {'values', redis.call('HGET', KEYS[1], ARGV[3])}
else
  if redis.call('HLEN', KEYS[1]) > tonumber(ARGV[1]) then return {'fields'} end
  local fields, bytes = redis.call('HKEYS', KEYS[1]), 0
  for _, field in ipairs(fields) do
    bytes = bytes + redis.call('HSTRLEN', KEYS[1], field)
    if bytes > tonumber(ARGV[2]) then return {'bytes', #fields} end
  end
  all = redis.call('HVALS', KEYS[1])
  table.insert(all, 1, 'values')
end
if ARGV[4] ~= '' then redis.call('PUBLISH', ARGV[4], ARGV[5]) end
return all`)

// key returns the key of a hash.
func (h *Handler) key(name string) string {
	name = h.cfg.KeyPrefix + name
	if prefix := h.pool.Config().Prefix; prefix != "" {
		return prefix + ":" + name
	}
	return name
}

// hash reads the values of a hash, or of one field. Many or large values cost more than
// one command, many even if they are too large to be returned.
func (c *Conn) hash(ctx context.Context, name, field, channel, token string) ([]string, error) {
	l := &c.h.cfg.Limits
	reply, err := readScript.Run(ctx, c.h.pool.Redis(), []string{c.h.key(name)}, l.Fields, l.Bytes, field, channel, token).Slice()
	switch {
	case err != nil:
		return nil, redisio.Normalize(ctx, err)
	case reply[0] == "type":
		return nil, Errorf(CodeNotAHash, "%s is not a hash", quoteName(name))
	case reply[0] == "fields":
		return nil, Errorf(CodeTooLarge, "%s has more than %d fields", quoteName(name), l.Fields)
	case reply[0] == "bytes":
		c.debit(float64(reply[1].(int64)) / valuesPerCost)
		return nil, Errorf(CodeTooLarge, "%s has more than %d bytes", quoteName(name), l.Bytes)
	}
	var values []string
	size := 0
	for _, v := range reply[1:] {
		if s, ok := v.(string); ok {
			values, size = append(values, s), size+len(s)
		}
	}
	c.debit(float64(len(values))/valuesPerCost + sizeCost(size, readPerCost))
	return values, nil
}

// get is the command GET.
func get(ctx context.Context, c *Conn, r Request) error { return Get(ctx, c, r, nil) }

// Get carries out the command GET, for commands that do the same and more. change, unless
// nil, gets each value before the filters of the connection; the message that it returns
// is sent, or nothing if it is nil. If no value is sent, null is.
func Get(ctx context.Context, c *Conn, r Request, change func(*Message) *Message) error {
	name, source, field := r.Args[0], r.Args[0], ""
	if len(r.Args) > 1 {
		field = r.Args[1]
	}
	switch {
	case field != "":
		source += " " + field
	case len(r.Args) == 2: // with three, an empty ref stands before a client_ref
		return Errorf(CodeBadCommand, "ref is empty")
	}
	if err := c.authorize(ctx, OpGet, name); err != nil {
		return err
	}
	values, err := c.hash(ctx, name, field, "", "")
	if err != nil {
		return err
	}
	sent, err := c.sendValues(ctx, r, source, values, change)
	if err == nil && sent == 0 {
		err = c.Reply(r, source, nil)
	}
	return err
}

// sendValues sends the values that change and the filters leave, and returns their number.
func (c *Conn) sendValues(ctx context.Context, r Request, source string, values []string, change func(*Message) *Message) (sent int, err error) {
	for _, v := range values {
		m := newMessage(r.Args[0], source, []byte(v))
		if change != nil {
			m = change(m)
			if m == nil {
				continue
			}
		}
		ok, err := c.ReplyMessage(r, m)
		if err != nil {
			return sent, err
		}
		if ok {
			sent++
		}
	}
	return sent, ctx.Err()
}

// snapshot reads a hash, and returns the number of the last message that Redis sent before
// the hash was read; 0: the source does not know.
func (c *Conn) snapshot(ctx context.Context, name string) (values []string, seq int64, err error) {
	if c.h.marker == nil {
		values, err = c.hash(ctx, name, "", "", "")
		return values, 0, err
	}
	channel, token, seen, err := c.h.marker.mark(ctx)
	if err != nil {
		return nil, 0, err
	}
	defer c.h.marker.unmark(token)
	if values, err = c.hash(ctx, name, "", channel, token); err != nil {
		return nil, 0, err
	}
	select {
	case seq = <-seen:
		return values, seq, nil
	case <-ctx.Done():
		return nil, 0, ctx.Err()
	}
}

// mark returns a token to be published on a channel. seen receives its number among the
// messages from Redis.
func (s *redisSource) mark(ctx context.Context) (channel, token string, seen <-chan int64, err error) {
	if err := s.listenForMarks(ctx); err != nil {
		return "", "", nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.marked++
	token = strconv.Itoa(s.marked)
	ch := make(chan int64, 1)
	s.marks[token] = ch
	return s.markChannel, token, ch, nil
}

// listenForMarks subscribes to the channel of marks, at the first mark.
func (s *redisSource) listenForMarks(ctx context.Context) error {
	s.listening.Lock()
	defer s.listening.Unlock()
	if s.marking != nil && s.marking.Err() == nil {
		return nil
	}
	parts := []string{"gateway", strconv.Itoa(redisio.Of(s.h.pool).Database()), "mark", s.h.id}
	channel, err := s.client.Pool().Key(parts...)
	if err != nil {
		return err
	}
	topic := pubsub.NewTopic[[]byte](strings.Join(parts, ":")).WithCodec(storage.Raw)
	listener, err := pubsub.Listen(ctx, s.client, topic, s.seen)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.marking, s.markChannel = listener, channel
	return nil
}

func (s *redisSource) unmark(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.marks, token)
}

func (s *redisSource) seen(_ context.Context, m pubsub.Message[[]byte]) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ch := s.marks[string(m.Value)]; ch != nil && m.Err == nil {
		ch <- m.Seq
		delete(s.marks, string(m.Value))
	}
	return nil
}
