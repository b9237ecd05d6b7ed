package jobs

import "github.com/heliograph/heliograph/internal/redisio"

// Every script works on a number of jobs that its arguments bound.

// luaShared has what the scripts share. Workers read notes at once, so that one that waits
// for the next due job notices a job that is due before it.
const luaShared = `
local function note(key, field, value)
  redis.call('XADD', key, 'MAXLEN', '~', '1000', '*', field, value)
  redis.call('PEXPIRE', key, 3600000)
end
local function now()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end
local function put(later, jobs, notes, id, member, due, record)
  redis.call('HSET', jobs, id, record)
  redis.call('ZADD', later, string.format('%.0f', due), member)
  if redis.call('ZRANGE', later, 0, 0)[1] == member then note(notes, 'due', '') end
end
`

var (
	// luaSubmit enters a job with an id unless the queue has it, and returns 1 if it
	// was new.
	//
	// KEYS stream, later, jobs, at, notes, done; ARGV id, member, letter, record, delay,
	// due (0: none).
	luaSubmit = redisio.NewScript(luaShared + `
local id = ARGV[1]
if redis.call('EXISTS', KEYS[6]) == 1 or redis.call('HEXISTS', KEYS[3], id) == 1
  or redis.call('HEXISTS', KEYS[4], id) == 1 then return 0 end
local due, delay = tonumber(ARGV[6]), tonumber(ARGV[5])
if delay > 0 then due = now() + delay end
if due > 0 then
  put(KEYS[2], KEYS[3], KEYS[5], id, ARGV[2], due, ARGV[4])
else
  local entry = redis.call('XADD', KEYS[1], '*', 'j', ARGV[4])
  redis.call('HSET', KEYS[4], id, ARGV[3] .. entry)
end
return 1`)

	// luaPromote moves up to 100 due jobs to their streams. It returns how many, the
	// ms until the next is due (-1: none), whether the queue is paused, and the ms until a
	// schedule is due (-1: none).
	//
	// KEYS later, jobs, at, paused, stream h, n, l, fires.
	luaPromote = redisio.NewScript(luaShared + `
local streams = {h = KEYS[5], n = KEYS[6], l = KEYS[7]}
local time = now()
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', time), 'LIMIT', 0, 100)
for _, member in ipairs(due) do
  local letter, id = string.sub(member, 1, 1), string.sub(member, 2)
  local record = redis.call('HGET', KEYS[2], id)
  if record then
    local entry = redis.call('XADD', streams[letter] or streams.n, '*', 'j', record)
    redis.call('HSET', KEYS[3], id, letter .. entry)
  end
  redis.call('HDEL', KEYS[2], id)
  redis.call('ZREM', KEYS[1], member)
end
local function wait(key)
  local head = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
  if head[2] then return math.max(0, tonumber(head[2]) - time) end
  return -1
end
return {#due, wait(KEYS[1]), redis.call('EXISTS', KEYS[4]), wait(KEYS[8])}`)

	// luaSettle takes a job that did not succeed from its stream to later or to dead,
	// if it is still the worker's. It returns how many old dead letters it removed, or
	// -1 if the job is not the worker's.
	//
	// KEYS stream, later, jobs, at, notes, dead; ARGV group, worker, entry, id, member,
	// delay (-1: dead), record, most dead letters.
	luaSettle = redisio.NewScript(luaShared + `
local entry, id, delay = ARGV[3], ARGV[4], tonumber(ARGV[6])
if #redis.call('XPENDING', KEYS[1], ARGV[1], entry, entry, 1, ARGV[2]) == 0 then return -1 end
redis.call('XACK', KEYS[1], ARGV[1], entry)
redis.call('XDEL', KEYS[1], entry)
redis.call('HDEL', KEYS[4], id)
if delay >= 0 then
  put(KEYS[2], KEYS[3], KEYS[5], id, ARGV[5], now() + delay, ARGV[7])
  return 0
end
redis.call('HSET', KEYS[3], id, ARGV[7])
redis.call('ZADD', KEYS[6], string.format('%.0f', now()), id)
local over = math.min(redis.call('ZCARD', KEYS[6]) - tonumber(ARGV[8]), 100)
if over <= 0 then return 0 end
for _, old in ipairs(redis.call('ZRANGE', KEYS[6], 0, over - 1)) do
  redis.call('HDEL', KEYS[3], old)
  redis.call('ZREM', KEYS[6], old)
end
return over`)

	// luaBeat renews a worker's lease, gives it up to a number of jobs of workers whose
	// leases have ended, and removes those workers once they have none. It returns how
	// many jobs the worker got, how many more there are at least, and whether its lease
	// had not ended.
	//
	// KEYS alive, streams; ARGV worker, lease, group, how many.
	luaBeat = redisio.NewScript(luaBeatSource)

	// luaReturn gives back entries of a worker, so that their attempt does not count.
	//
	// KEYS stream; ARGV group, worker, consumer of returned entries, entries.
	luaReturn = redisio.NewScript(`
for i = 4, #ARGV do
  local p = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[i], ARGV[i], 1, ARGV[2])
  if p[1] then
    redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[3], 0, ARGV[i], 'RETRYCOUNT', math.max(0, p[1][4] - 1), 'JUSTID')
  end
end
return 1`)

	// luaLeave ends a worker's lease, and removes it where it has no entries.
	//
	// KEYS alive, streams; ARGV worker, group.
	luaLeave = redisio.NewScript(`
for i = 2, #KEYS do
  local p = redis.pcall('XPENDING', KEYS[i], ARGV[2], '-', '+', 1, ARGV[1])
  if not p.err and #p == 0 then redis.call('XGROUP', 'DELCONSUMER', KEYS[i], ARGV[2], ARGV[1]) end
end
redis.call('ZREM', KEYS[1], ARGV[1])
return 1`)

	// luaCancel removes a job that waits or is due later, and returns its state before:
	// 'waiting', 'scheduled', 'running' (its worker is told), 'dead', or ''.
	//
	// KEYS later, jobs, at, dead, notes, stream h, n, l, alive; ARGV id, its place if that
	// is what its id says, group.
	luaCancel = redisio.NewScript(luaShared + `
local id, streams = ARGV[1], {h = KEYS[6], n = KEYS[7], l = KEYS[8]}
if redis.call('ZSCORE', KEYS[4], id) then return 'dead' end
if redis.call('HEXISTS', KEYS[2], id) == 1 then
  redis.call('ZREM', KEYS[1], 'h' .. id, 'n' .. id, 'l' .. id)
  redis.call('HDEL', KEYS[2], id)
  return 'scheduled'
end
local place = redis.call('HGET', KEYS[3], id) or ARGV[2]
local stream, entry = streams[string.sub(place, 1, 1)], string.sub(place, 2)
if not stream or #redis.call('XRANGE', stream, entry, entry) == 0 then return '' end
local pending = redis.pcall('XPENDING', stream, ARGV[3], entry, entry, 1)
if not pending.err and #pending > 0 then
  local ends = redis.call('ZSCORE', KEYS[9], pending[1][2])
  if ends and tonumber(ends) >= now() then
    note(KEYS[5], 'cancel', id)
    return 'running'
  end
  redis.call('XACK', stream, ARGV[3], entry)
end
redis.call('XDEL', stream, entry)
redis.call('HDEL', KEYS[3], id)
return 'waiting'`)

	// luaRetry enters a dead letter into its stream anew. It returns 0 if the job is
	// not among the dead letters.
	//
	// KEYS stream, jobs, at, dead; ARGV id, letter, record.
	luaRetry = redisio.NewScript(`
if redis.call('ZREM', KEYS[4], ARGV[1]) == 0 then return 0 end
redis.call('HDEL', KEYS[2], ARGV[1])
local entry = redis.call('XADD', KEYS[1], '*', 'j', ARGV[3])
redis.call('HSET', KEYS[3], ARGV[1], ARGV[2] .. entry)
return 1`)

	// luaDiscard removes a dead letter.
	//
	// KEYS jobs, dead; ARGV id.
	luaDiscard = redisio.NewScript(`
if redis.call('ZREM', KEYS[2], ARGV[1]) == 0 then return 0 end
return redis.call('HDEL', KEYS[1], ARGV[1])`)

	// luaPause makes (1) or removes (0) the mark of a paused queue, and tells the workers.
	//
	// KEYS paused, notes; ARGV 1 or 0.
	luaPause = redisio.NewScript(luaShared + `
if ARGV[1] == '1' then redis.call('SET', KEYS[1], '') else redis.call('DEL', KEYS[1]) end
note(KEYS[2], 'paused', ARGV[1])
return 1`)
)

const luaBeatSource = luaShared + `
local time, me, lease, room = now(), ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[4])
local before = redis.call('ZSCORE', KEYS[1], me)
local held = 0
if before and tonumber(before) >= time then held = 1 end
redis.call('ZADD', KEYS[1], string.format('%.0f', time + lease), me)
redis.call('PEXPIRE', KEYS[1], math.max(60000, 2 * lease))
local claimed, left = 0, 0
for i = 2, #KEYS do
  local consumers = redis.pcall('XINFO', 'CONSUMERS', KEYS[i], ARGV[3])
  if consumers.err then
    redis.call('XGROUP', 'CREATE', KEYS[i], ARGV[3], '0', 'MKSTREAM')
    consumers = {}
  end
  for _, consumer in ipairs(consumers) do
    local name, pending = nil, 0
    for f = 1, #consumer, 2 do
      if consumer[f] == 'name' then name = consumer[f + 1] end
      if consumer[f] == 'pending' then pending = consumer[f + 1] end
    end
    local ends = redis.call('ZSCORE', KEYS[1], name)
    if not (ends and tonumber(ends) >= time) then
      if pending == 0 then
        redis.call('XGROUP', 'DELCONSUMER', KEYS[i], ARGV[3], name)
      elseif room > 0 then
        local list = redis.call('XPENDING', KEYS[i], ARGV[3], '-', '+', room, name)
        for _, p in ipairs(list) do
          redis.call('XCLAIM', KEYS[i], ARGV[3], me, 0, p[1])
        end
        room, claimed, left = room - #list, claimed + #list, left + pending - #list
      else
        left = left + pending
      end
    end
  end
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', time - 60000))
return {claimed, left, held}`
