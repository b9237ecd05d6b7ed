package jobs

import "github.com/heliograph/heliograph/internal/redisio"

// heldUntil is when a job is due that waits until another with its unique key has ended: in
// 2100, in ms.
const heldUntil = "4102444800000"

// Every script works on a number of jobs that its arguments bound.

// luaShared has what the scripts share. Workers read notes at once, so that one that waits
// for the next due job notices a job that is due before it.
const luaShared = `
local function note(key, field, value)
  redis.call('XADD', key, 'MAXLEN', '~', '1000', '*', field, value)
  redis.call('PEXPIRE', key, 3600000)
end
local function micros()
  local t = redis.call('TIME')
  return t[1] * 1000000 + t[2]
end
local function now() return math.floor(micros() / 1000) end
local function number(n) return string.format('%.0f', n) end
`

// luaQueue has what scripts do with jobs. Their KEYS begin with those of queue.keys.
//
// A job of a group waits in grouped, sorted by group, rank of its priority and time. Groups
// that may begin a job take turns: the one with the lowest is next, and goes to the end.
const luaQueue = luaShared + `
local K = {h = KEYS[1], n = KEYS[2], l = KEYS[3], g = KEYS[4], later = KEYS[5], jobs = KEYS[6], at = KEYS[7],
  dead = KEYS[8], notes = KEYS[9], alive = KEYS[10], paused = KEYS[11], unique = KEYS[12], held = KEYS[13],
  grouped = KEYS[14], turns = KEYS[15], active = KEYS[16], slow = KEYS[17], rates = KEYS[18], rate = KEYS[19],
  stopped = KEYS[20], ingroup = KEYS[21], wake = KEYS[22], fires = KEYS[23]}
local rank = {h = '1', n = '2', l = '3'}

local function put(id, member, due, record)
  if record then redis.call('HSET', K.jobs, id, record) end
  redis.call('ZADD', K.later, number(due), member)
  if redis.call('ZRANGE', K.later, 0, 0)[1] == member then note(K.notes, 'due', '') end
end
local function first(group)
  return redis.call('ZRANGEBYLEX', K.grouped, '[' .. group .. '\1', '(' .. group .. '\2', 'LIMIT', 0, 1)[1]
end
local function turn(group)
  local last = redis.call('ZRANGE', K.turns, -1, -1, 'WITHSCORES')[2] or '0'
  redis.call('ZADD', K.turns, number(last + 1), group)
  return last == '0'
end
local function ready(group)
  if redis.call('ZSCORE', K.turns, group) or redis.call('ZSCORE', K.slow, group)
    or redis.call('SISMEMBER', K.stopped, group) == 1 or not first(group) then return end
  if turn(group) then
    redis.call('XADD', K.wake, 'MAXLEN', '~', '10', '*', 'g', '')
    redis.call('PEXPIRE', K.wake, 3600000)
  end
end
local function enter(id, letter, record)
  local group = redis.call('HGET', K.ingroup, id)
  if not group then
    redis.call('HDEL', K.jobs, id)
    redis.call('HSET', K.at, id, letter .. redis.call('XADD', K[letter], '*', 'j', record))
    return
  end
  local member = group .. '\1' .. rank[letter] .. string.format('%016.0f', micros()) .. id
  if redis.call('ZCARD', K.grouped) == 0 then note(K.notes, 'grouped', '') end
  redis.call('HSET', K.jobs, id, record)
  redis.call('HSET', K.at, id, 'w' .. member)
  redis.call('ZADD', K.grouped, 0, member)
  ready(group)
end
local function stop(id)
  local group = redis.call('HGET', K.ingroup, id)
  if not group then return end
  if redis.call('HINCRBY', K.active, group, -1) <= 0 then redis.call('HDEL', K.active, group) end
  ready(group)
end
local function busy(id)
  return redis.call('HEXISTS', K.at, id) == 1
    or redis.call('HEXISTS', K.jobs, id) == 1 and not redis.call('ZSCORE', K.dead, id)
end
local function holder(key)
  local value = redis.call('HGET', K.unique, key)
  if not value then return nil end
  local colon = string.find(value, ':', 1, true)
  return string.sub(value, colon + 1), tonumber(string.sub(value, 1, colon - 1))
end
local function lock(key, id) redis.call('HSET', K.unique, key, number(now()) .. ':' .. id) end
local function drop(id)
  redis.call('ZREM', K.later, 'h' .. id, 'n' .. id, 'l' .. id)
  redis.call('HDEL', K.jobs, id)
  redis.call('HDEL', K.ingroup, id)
end
-- over ends a job that is done, dead or cancelled.
local function over(id, key)
  redis.call('HDEL', K.ingroup, id)
  if key == '' then return end
  local held = redis.call('HGET', K.held, key)
  if held and string.sub(held, 2) == id then redis.call('HDEL', K.held, key) end
  if holder(key) ~= id then return end
  redis.call('HDEL', K.unique, key)
  if held then
    redis.call('HDEL', K.held, key)
    lock(key, string.sub(held, 2))
    put(string.sub(held, 2), held, now())
  end
end
`

var (
	// luaSubmit enters a job with an id. It returns 1 and the id if it was new, 2 and the id
	// if the queue has it, and 0 and the id of another job with the unique key if that
	// prevents it.
	//
	// KEYS of the queue, done, throttle; ARGV id, letter, record, delay, due (0: none), group,
	// unique key ('': none), mode, for.
	luaSubmit = redisio.NewScript(luaQueue + `
local id, letter, record, group, key, mode, span = ARGV[1], ARGV[2], ARGV[3], ARGV[6], ARGV[7], ARGV[8], tonumber(ARGV[9])
if redis.call('EXISTS', KEYS[24]) == 1 or busy(id) or redis.call('HEXISTS', K.jobs, id) == 1 then return {2, id} end
local due, delay = tonumber(ARGV[5]), tonumber(ARGV[4])
if delay > 0 then due = now() + delay end
if mode == 'throttle' then
  local other = redis.call('GET', KEYS[25])
  if other then return {0, other} end
  redis.call('SET', KEYS[25], id, 'PX', span)
elseif key ~= '' then
  local other, since = holder(key)
  if other and not busy(other) then other = nil end
  if other and mode == 'refuse' and (span == 0 or now() < since + span) then return {0, other} end
  if other and mode == 'debounce' and redis.call('HEXISTS', K.jobs, other) == 1 and redis.call('HEXISTS', K.at, other) == 0 then drop(other) end
  if other and mode == 'last' then
    local held = redis.call('HGET', K.held, key)
    if held then drop(string.sub(held, 2)) end
    redis.call('HSET', K.held, key, letter .. id)
    due = ` + heldUntil + `
  else
    lock(key, id)
  end
end
if group ~= '' then redis.call('HSET', K.ingroup, id, group) end
if due > 0 then put(id, letter .. id, due, record) else enter(id, letter, record) end
return {1, id}`)

	// luaPromote enters up to 100 due jobs. It returns how many, the ms until the next is
	// due (-1: none), whether the queue is paused, the ms until a schedule is due (-1: none),
	// and whether jobs of groups wait.
	//
	// KEYS of the queue.
	luaPromote = redisio.NewScript(luaQueue + `
local time = now()
local due = redis.call('ZRANGEBYSCORE', K.later, '-inf', number(time), 'LIMIT', 0, 100)
for _, member in ipairs(due) do
  local letter, id = string.sub(member, 1, 1), string.sub(member, 2)
  local record = redis.call('HGET', K.jobs, id)
  redis.call('ZREM', K.later, member)
  if record then enter(id, rank[letter] and letter or 'n', record) end
end
local function wait(key)
  local head = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
  if head[2] then return math.max(0, tonumber(head[2]) - time) end
  return -1
end
return {#due, wait(K.later), redis.call('EXISTS', K.paused), wait(K.fires), redis.call('EXISTS', K.grouped)}`)

	// luaSettle takes a job that did not succeed from its stream to later or to dead,
	// if it is still the worker's. It returns how many old dead letters it removed, or
	// -1 if the job is not the worker's.
	//
	// KEYS of the queue, flow; ARGV group, worker, letter, entry, id, member, delay (-1:
	// dead), record, most dead letters, unique key, number in its flow ('': none).
	luaSettle = redisio.NewScript(luaFlow + `
local stream, entry, id, delay = K[ARGV[3]], ARGV[4], ARGV[5], tonumber(ARGV[7])
if #redis.call('XPENDING', stream, ARGV[1], entry, entry, 1, ARGV[2]) == 0 then return -1 end
redis.call('XACK', stream, ARGV[1], entry)
redis.call('XDEL', stream, entry)
redis.call('HDEL', K.at, id)
stop(id)
if delay >= 0 then
  put(id, ARGV[6], now() + delay, ARGV[8])
  return 0
end
over(id, ARGV[10])
if ARGV[11] ~= '' then ended(KEYS[24], ARGV[11], 'x') end
redis.call('HSET', K.jobs, id, ARGV[8])
redis.call('ZADD', K.dead, number(now()), id)
local excess = math.min(redis.call('ZCARD', K.dead) - tonumber(ARGV[9]), 100)
if excess <= 0 then return 0 end
for _, old in ipairs(redis.call('ZRANGE', K.dead, 0, excess - 1)) do
  redis.call('HDEL', K.jobs, old)
  redis.call('ZREM', K.dead, old)
end
return excess`)

	// luaFinish ends jobs that are done, and that others wait for: those of a group or a
	// flow, or with a unique key.
	//
	// KEYS of the queue, and done and flow of each job; ARGV group, and of each job letter,
	// entry, id, unique key, result ('': none), for how long it is kept, number in its flow
	// ('': none).
	luaFinish = redisio.NewScript(luaFlow + `
for i = 2, #ARGV, 7 do
  local stream, entry, id = K[ARGV[i]], ARGV[i + 1], ARGV[i + 2]
  if redis.call('XACK', stream, ARGV[1], entry) == 1 then
    redis.call('XDEL', stream, entry)
    redis.call('HDEL', K.at, id)
    stop(id)
    over(id, ARGV[i + 3])
    local done = 24 + 2 * (i - 2) / 7
    if ARGV[i + 4] ~= '' then redis.call('SET', KEYS[done], ARGV[i + 4], 'PX', ARGV[i + 5]) end
    if ARGV[i + 6] ~= '' then ended(KEYS[done + 1], ARGV[i + 6], 'd') end
  end
end
return 1`)

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
	// KEYS of the queue, flow; ARGV id, its place if that is what its id says, group, unique
	// key, 'waiting' if it is to be left alone while it runs, number in its flow ('': none).
	luaCancel = redisio.NewScript(luaFlow + `
local id, key = ARGV[1], ARGV[4]
local function cancelled()
  over(id, key)
  if ARGV[6] ~= '' then ended(KEYS[24], ARGV[6], 'c') end
end
if redis.call('ZSCORE', K.dead, id) then return 'dead' end
local place = redis.call('HGET', K.at, id)
if redis.call('HEXISTS', K.jobs, id) == 1 then
  if place then
    local group = redis.call('HGET', K.ingroup, id)
    redis.call('ZREM', K.grouped, string.sub(place, 2))
    redis.call('HDEL', K.at, id)
    if not first(group) then
      redis.call('ZREM', K.turns, group)
      redis.call('ZREM', K.slow, group)
    end
  end
  drop(id)
  cancelled()
  return place and 'waiting' or 'scheduled'
end
place = place or ARGV[2]
local stream, entry = K[string.sub(place, 1, 1)], string.sub(place, 2)
if #place < 2 or #redis.call('XRANGE', stream, entry, entry) == 0 then return '' end
local pending = redis.pcall('XPENDING', stream, ARGV[3], entry, entry, 1)
if not pending.err and #pending > 0 then
  local ends = redis.call('ZSCORE', K.alive, pending[1][2])
  if ends and tonumber(ends) >= now() then
    if ARGV[5] == 'waiting' then return 'running' end
    note(K.notes, 'cancel', id)
    return 'running'
  end
  redis.call('XACK', stream, ARGV[3], entry)
  stop(id)
end
redis.call('XDEL', stream, entry)
redis.call('HDEL', K.at, id)
cancelled()
return 'waiting'`)

	// luaRetry enters a dead letter anew. It returns 0 if the job is not among the dead
	// letters, and -1 if another job has its unique key.
	//
	// KEYS of the queue; ARGV id, letter, record, job group, unique key.
	luaRetry = redisio.NewScript(luaQueue + `
local id, key = ARGV[1], ARGV[5]
if not redis.call('ZSCORE', K.dead, id) then return 0 end
if key ~= '' then
  local other = holder(key)
  if other and busy(other) then return -1 end
  lock(key, id)
end
redis.call('ZREM', K.dead, id)
if ARGV[4] ~= '' then redis.call('HSET', K.ingroup, id, ARGV[4]) end
enter(id, ARGV[2], ARGV[3])
return 1`)

	// luaDiscard removes a dead letter.
	//
	// KEYS jobs, dead; ARGV id.
	luaDiscard = redisio.NewScript(`
if redis.call('ZREM', KEYS[2], ARGV[1]) == 0 then return 0 end
return redis.call('HDEL', KEYS[1], ARGV[1])`)

	// luaPauseGroup makes (1) or removes (0) the mark of a paused group. It returns -1 if too
	// many groups are paused.
	//
	// KEYS of the queue; ARGV group, 1 or 0, most groups.
	luaPauseGroup = redisio.NewScript(luaQueue + `
if ARGV[2] == '1' then
  if redis.call('SCARD', K.stopped) >= tonumber(ARGV[3]) then return -1 end
  redis.call('SADD', K.stopped, ARGV[1])
  redis.call('ZREM', K.turns, ARGV[1])
else
  redis.call('SREM', K.stopped, ARGV[1])
  ready(ARGV[1])
end
return 1`)

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
redis.call('ZADD', KEYS[1], number(time + lease), me)
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
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', number(time - 60000))
return {claimed, left, held}`
