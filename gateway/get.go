package gateway

import (
	"context"

	"github.com/heliograph/heliograph/internal/redisio"
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

// hash reads the values of a hash, or of one field, and returns what many or large ones
// cost beside the command; many do even if they are too large to be returned.
func (h *Handler) hash(ctx context.Context, name, field, channel, token string) (values []string, cost float64, err error) {
	l := &h.cfg.Limits
	reply, err := readScript.Run(ctx, h.pool.Redis(), []string{h.key(name)}, l.Fields, l.Bytes, field, channel, token).Slice()
	switch {
	case err != nil:
		return nil, 0, redisio.Normalize(ctx, err)
	case reply[0] == "type":
		return nil, 0, Errorf(CodeNotAHash, "%s is not a hash", quoteName(name))
	case reply[0] == "fields":
		return nil, 0, Errorf(CodeTooLarge, "%s has more than %d fields", quoteName(name), l.Fields)
	case reply[0] == "bytes":
		return nil, float64(reply[1].(int64)) / valuesPerCost, Errorf(CodeTooLarge, "%s has more than %d bytes", quoteName(name), l.Bytes)
	}
	size := 0
	for _, v := range reply[1:] {
		if s, ok := v.(string); ok {
			values, size = append(values, s), size+len(s)
		}
	}
	return values, float64(len(values))/valuesPerCost + sizeCost(size, readPerCost), nil
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
	values, cost, err := c.h.hash(ctx, name, field, "", "")
	c.debit(cost)
	if err != nil {
		return err
	}
	none := true
	for _, v := range values {
		m := newMessage(name, source, []byte(v))
		if change != nil {
			if m = change(m); m == nil {
				continue
			}
		}
		sent, err := c.ReplyMessage(r, m)
		if err != nil {
			return err
		}
		none = none && !sent
	}
	if none {
		return c.Reply(r, source, nil)
	}
	return nil
}
