package keywords

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/heliograph/heliograph/internal/redisio"
	"github.com/heliograph/heliograph/storage"
)

// service has the names of a service's keys, all of which are in one slot of a cluster:
//
//	kw:{service}:def         hash    name → Definition as JSON
//	kw:{service}:v:<NAME>    hash    a value: v text, m its mark: revision, time in
//	                                 µs, severity, which client set it, remark
//	kw:{service}:log:<NAME>  stream  the last values: l a line of the history, whose
//	                                 id is the revision with a hyphen
//	kw:{service}:own:<disp>  string  the lease: fence:worker id
//	kw:{service}:fence       hash    dispatcher → fencing number of its newest tenure;
//	                                 Clear leaves it for a day
//	kw:{service}:wait:<disp> zset    dispatchers that wait: time in µs and worker id →
//	                                 end of the entry in ms
//	kw:{service}:meta:<disp> hash    of the tenure: e its number, n that of the newest value
//
// The channel kw:<service>:<database>:changes brings each batch of changes as a
// [message]. The set kw:services names all services.
type service struct {
	name    string
	base    string
	bare    string // base without the pool's prefix
	channel string // without the pool's prefix
}

func newService(pool *storage.Pool, name string) (service, error) {
	if err := checkServiceName(name); err != nil {
		return service{}, fmt.Errorf("keywords: service: %w", err)
	}
	base, err := pool.Key("kw", redisio.HashTag(name))
	return service{
		name: name, base: base, bare: "kw:" + redisio.HashTag(name),
		channel: fmt.Sprintf("kw:%s:%d:changes", name, redisio.Of(pool).Database()),
	}, err
}

func (s service) definitions() string         { return s.base + ":def" }
func (s service) value(name string) string    { return s.base + ":v:" + name }
func (s service) log(name string) string      { return s.base + ":log:" + name }
func (s service) owner(disp string) string    { return s.base + ":own:" + disp }
func (s service) fence() string               { return s.base + ":fence" }
func (s service) standbys(disp string) string { return s.base + ":wait:" + disp }
func (s service) meta(disp string) string     { return s.base + ":meta:" + disp }

// workerType returns the type of the bus worker that carries out a dispatcher's calls.
func workerType(service, disp string) string { return "kw." + service + "." + disp }

func servicesKey(pool *storage.Pool) (string, error) { return pool.Key("kw", "services") }

// message is a message on the channel of a service: changes that were committed together,
// in order. The first has revision Epoch:N, the next N+1 and so on. A message without
// changes says that the dispatcher has published its definitions or has ended.
type message struct {
	Dispatcher string
	Epoch      uint64
	N          uint64
	Changes    []change
	Ended      bool
	Defined    bool // the definitions may have changed
}

// change is one value of a [message].
type change struct {
	Name     string
	Text     string
	At       int64
	Severity Severity
	Source   string
	Remark   string
	Silent   bool      // the keyword has NoBroadcast; Text is empty, watchers read the value
	After    *Revision // of the line before in the keyword's history; nil: the change has no line
}

// valueFields are the fields of a value: only two, since each costs every modify.
var valueFields = []string{"v", "m"}

// mark returns the mark of a value: its revision, time, severity, the length of its
// source in bytes, its source and its remark. The length tells where the source ends:
// both may contain spaces.
func (r *record) mark() string {
	buf := make([]byte, 0, 64+len(r.source)+len(r.remark))
	buf = strconv.AppendUint(buf, r.rev.Epoch, 10)
	buf = strconv.AppendUint(append(buf, ':'), r.rev.N, 10)
	buf = strconv.AppendInt(append(buf, ' '), r.at, 10)
	buf = strconv.AppendUint(append(buf, ' '), uint64(r.severity), 10)
	buf = strconv.AppendInt(append(buf, ' '), int64(len(r.source)), 10)
	buf = append(append(buf, ' '), r.source...)
	return string(append(append(buf, ' '), r.remark...))
}

// readRecord reads the fields of a value, as HMGET returns them. Ok is false if there is
// no value. An external write may lack the mark, or parts of it.
func readRecord(name string, fields []any) (r record, ok bool) {
	if len(fields) != len(valueFields) || fields[0] == nil {
		return record{}, false
	}
	r.name = name
	r.text, _ = fields[0].(string)
	mark, _ := fields[1].(string)
	rev, mark, _ := strings.Cut(mark, " ")
	at, mark, _ := strings.Cut(mark, " ")
	severity, mark, _ := strings.Cut(mark, " ")
	length, mark, _ := strings.Cut(mark, " ")
	r.rev, _ = ParseRevision(rev)
	r.at, _ = strconv.ParseInt(at, 10, 64)
	n, _ := strconv.ParseUint(severity, 10, 8)
	r.severity = Severity(n)
	if end, err := strconv.Atoi(length); err == nil && end >= 0 && end < len(mark) && mark[end] == ' ' {
		r.source, r.remark = mark[:end], mark[end+1:]
	}
	return r, true
}

// isFenced reports whether a script has refused to write because another dispatcher
// has acquired the lease.
func isFenced(err error) bool { return err != nil && strings.Contains(err.Error(), "FENCED") }

// isLost reports whether a script has refused to commit because Redis does not hold
// what this tenure committed before.
func isLost(err error) bool { return err != nil && strings.Contains(err.Error(), "LOST") }

// isUnowned reports whether a script has refused to write because Redis holds no
// lease, or that of an earlier tenure: it has expired, or Redis has lost it.
func isUnowned(err error) bool { return err != nil && strings.Contains(err.Error(), "UNOWNED") }

// luaEpochOf defines the function that reads the fencing number from the value of an
// owner's key.
const luaEpochOf = `
local function epoch(owner) return tonumber(string.match(owner or '', '^(%d+):') or '') or 0 end
`

// luaFence begins every script that writes for a dispatcher. KEYS[1] is the owner's
// key, ARGV[1] what must be in it.
const luaFence = luaEpochOf + `
local owner = redis.call('GET', KEYS[1])
if owner ~= ARGV[1] then
  if epoch(owner) > epoch(ARGV[1]) then return redis.error_reply('FENCED') end
  return redis.error_reply('UNOWNED')
end
`

// luaCommit writes changes, replies to their writers, and a message.
//
//	KEYS  owner, meta, a value for each change, a log for each that has one, an
//	      inbox for each of replies
//	ARGV  token, epoch, n before, n after, channel, message, how many changes, how
//	      many logs, v m of each change, how long, id and line of each log, then
//	      for each inbox how many frames and the frames
//
// Where it was carried out already, it says so and does nothing. A key that
// holds another type, or a log with an id that is not smaller, is deleted first. A log
// may be a little longer than it should be: to trim it exactly would cost five times
// as much.
var luaCommit = redisio.NewScript(luaFence + `
local function again(r, command, key, ...)
  if string.find(r.err, 'WRONGTYPE', 1, true) or string.find(r.err, 'equal or smaller', 1, true) then redis.call('DEL', key) end
  redis.call(command, key, ...) -- which raises any other error
end
local m = redis.pcall('HMGET', KEYS[2], 'e', 'n')
if m[1] ~= ARGV[2] then return redis.error_reply('LOST') end
if m[2] == ARGV[4] then return 0 end
if m[2] ~= ARGV[3] then return redis.error_reply('LOST') end
local count, logs = tonumber(ARGV[7]), tonumber(ARGV[8])
local a = 9
for i = 1, count do
  local r = redis.pcall('HSET', KEYS[2 + i], 'v', ARGV[a], 'm', ARGV[a+1])
  if type(r) ~= 'number' then again(r, 'HSET', KEYS[2 + i], 'v', ARGV[a], 'm', ARGV[a+1]) end
  a = a + 2
end
redis.call('HSET', KEYS[2], 'n', ARGV[4])
for i = 3 + count, 2 + count + logs do
  local r = redis.pcall('XADD', KEYS[i], 'MAXLEN', '~', ARGV[a], ARGV[a+1], 'l', ARGV[a+2])
  if type(r) == 'table' and r.err then again(r, 'XADD', KEYS[i], ARGV[a+1], 'l', ARGV[a+2]) end
  a = a + 3
end
for i = 3 + count + logs, #KEYS do
  local frames = {}
  for j = 1, tonumber(ARGV[a]) do
    frames[2*j-1] = '` + redisio.StreamField + `'
    frames[2*j] = ARGV[a+j]
  end
  redis.call('XADD', KEYS[i], 'NOMKSTREAM', '*', unpack(frames))
  a = a + 1 + #frames / 2
end
redis.call('PUBLISH', ARGV[5], ARGV[6])
return 1`)

// luaDefine writes definitions, and removes those of keywords that are gone, with
// what they had. It says so by a message, unless that is empty. Of two dispatchers with a keyword in common the
// second finds it CHANGED.
//
//	KEYS  owner, definitions, owners of those whose keywords are taken over, then
//	      what is to be deleted
//	ARGV  token, channel, message, how many such owners, how many are gone, their
//	      names, then name, definition before ("": none) and definition of each that
//	      there is
var luaDefine = redisio.NewScript(luaFence + `
local others, gone = tonumber(ARGV[4]), tonumber(ARGV[5])
for i = 3, 2 + others do
  if redis.call('EXISTS', KEYS[i]) == 1 then return redis.error_reply('CHANGED') end
end
for i = 6 + gone, #ARGV, 3 do
  if (redis.call('HGET', KEYS[2], ARGV[i]) or '') ~= ARGV[i+1] then return redis.error_reply('CHANGED') end
end
for i = 6, 5 + gone do redis.call('HDEL', KEYS[2], ARGV[i]) end
for i = 3 + others, #KEYS do redis.call('DEL', KEYS[i]) end
for i = 6 + gone, #ARGV, 3 do redis.call('HSET', KEYS[2], ARGV[i], ARGV[i+2]) end
if ARGV[3] ~= '' then redis.call('PUBLISH', ARGV[2], ARGV[3]) end
return 1`)

// luaDelete deletes values: KEYS owner, values; ARGV token.
var luaDelete = redisio.NewScript(luaFence + `
for i = 2, #KEYS do redis.call('DEL', KEYS[i]) end
return 1`)

// luaBegin begins a tenure, unless another dispatcher has the lease: then it returns
// the milliseconds that are left of it as a negative number. The fencing number, which
// it returns, is greater than all that were stored or used, and at least the time in
// µs: it rises even where Redis has lost the stored one.
//
//	KEYS  owner, fence, meta
//	ARGV  dispatcher, id of its worker, lease in ms, a number below which to return 0
//	      and begin nothing, number of the dispatcher's tenure so far (0: none)
//
// A dispatcher that has a tenure is FENCED by a greater number only.
var luaBegin = redisio.NewScript(luaEpochOf + `
local stored = tonumber(redis.call('HGET', KEYS[2], ARGV[1]) or '') or 0
local known = tonumber(ARGV[5])
if known > 0 then
  if stored > known or epoch(redis.call('GET', KEYS[1])) > known then return redis.error_reply('FENCED') end
else
  local left = redis.call('PTTL', KEYS[1])
  if left > 0 then return -left end
  if stored < tonumber(ARGV[4]) then return 0 end
end
local time = redis.call('TIME')
local number = math.max(stored + 1, known + 1, time[1] * 1000000 + time[2])
local text = string.format('%.0f', number)
redis.call('HSET', KEYS[2], ARGV[1], text)
redis.call('PERSIST', KEYS[2])
redis.call('SET', KEYS[1], text .. ':' .. ARGV[2], 'PX', ARGV[3])
redis.call('DEL', KEYS[3]) -- whatever it is
redis.call('HSET', KEYS[3], 'e', text, 'n', '0')
return number`)

// luaRenew renews the lease, also where it has expired or Redis has lost it, unless
// another dispatcher has acquired a greater fencing number.
//
//	KEYS  owner, fence, meta
//	ARGV  token, dispatcher, fencing number, lease in ms, how many values were
//	      committed, 1 to return -1 and renew nothing where Redis stores a smaller
//	      number
//
// It returns 1, or 0 if Redis holds fewer values of the tenure than were committed.
var luaRenew = redisio.NewScript(luaEpochOf + `
local ours = tonumber(ARGV[3])
local stored = tonumber(redis.call('HGET', KEYS[2], ARGV[2]) or '') or 0
if stored > ours or epoch(redis.call('GET', KEYS[1])) > ours then return redis.error_reply('FENCED') end
if stored < ours and ARGV[6] == '1' then return -1 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[4])
if stored < ours then redis.call('HSET', KEYS[2], ARGV[2], ARGV[3]) end
local m = redis.pcall('HMGET', KEYS[3], 'e', 'n')
if stored == ours and m[1] == ARGV[3] and (tonumber(m[2]) or -1) >= tonumber(ARGV[5]) then return 1 end
return 0`)

// luaRelease gives the lease back and says so: KEYS owner; ARGV token, channel,
// message.
var luaRelease = redisio.NewScript(`
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
redis.call('PUBLISH', ARGV[2], ARGV[3])
return 1`)

// luaClear deletes keys of a service, unless one of its dispatchers lives: then it
// returns the number of the owner, and else 0. KEYS owners, keys; ARGV how many owners.
var luaClear = redisio.NewScript(`
local owners = tonumber(ARGV[1])
for i = 1, owners do
  if redis.call('EXISTS', KEYS[i]) == 1 then return i end
end
for i = owners + 1, #KEYS do redis.call('UNLINK', KEYS[i]) end
return 0`)
