package jobs

import "github.com/heliograph/heliograph/internal/redisio"

// luaTake gives a worker up to a number of jobs, as far as the limits of the queue permit.
// Without limits and groups workers read the streams themselves.
//
// A rate is kept as the time at which what it permits is used up, which must not be further
// ahead than the burst. Jobs that run are the entries that the consumer groups have
// delivered.
//
// It returns the ms until it is worth asking again (-1: when there is a job), the last ids
// of the streams h, n, l and wake if it gives none, and of each job the letter of its stream,
// its entry and its record.
//
// KEYS of the queue; ARGV group, worker, how many, most jobs that run, most of a group, µs
// between two jobs, burst, µs between two jobs of a group, burst (each 0: no limit).
var luaTake = redisio.NewScript(luaQueue + `
local time, me, n = micros(), ARGV[2], tonumber(ARGV[3])
local most, mostOfGroup = tonumber(ARGV[4]), tonumber(ARGV[5])
local step, burst, groupStep, groupBurst = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
local wait, ends = -1, redis.call('ZSCORE', K.alive, me)
local function later(us)
  local ms = math.max(1, math.ceil(us / 1000))
  if wait < 0 or ms < wait then wait = ms end
end
local function info(stream)
  local pending, last = 0, '0-0'
  for _, g in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
    local f = {}
    for i = 1, #g, 2 do f[g[i]] = g[i + 1] end
    if f.name == ARGV[1] then pending, last = f.pending, f['last-delivered-id'] end
  end
  return pending, last
end
if redis.call('EXISTS', K.paused) == 1 or not ends or tonumber(ends) < time / 1000 then n = 0 end
if n > 0 and most > 0 then
  local running = info(K.h) + info(K.n) + info(K.l) + info(K.g)
  n = math.min(n, most - running)
  if n <= 0 then later(50000) end
end
local used = time
if n > 0 and step > 0 then
  used = math.max(time, tonumber(redis.call('GET', K.rate) or '0'))
  local free = math.floor((time + burst * step - used) / step)
  if free < 1 then later(used + step - time - burst * step) end
  n = math.min(n, free)
end

local jobs = {}
local function read(letter, count)
  if count <= 0 then return 0 end
  local answer = redis.call('XREADGROUP', 'GROUP', ARGV[1], me, 'COUNT', count, 'STREAMS', K[letter], '>')
  if not answer then return 0 end
  local entries = answer[1][2]
  for _, e in ipairs(entries) do
    jobs[#jobs + 1], jobs[#jobs + 2], jobs[#jobs + 3] = letter, e[1], e[2][2] or ''
  end
  return #entries
end
local function mayBegin(group)
  if mostOfGroup > 0 and tonumber(redis.call('HGET', K.active, group) or '0') >= mostOfGroup then return false end
  if groupStep == 0 then return true end
  local after = math.max(time, tonumber(redis.call('ZSCORE', K.rates, group) or '0')) + groupStep
  if after > time + groupBurst * groupStep then
    redis.call('ZADD', K.slow, number(math.ceil((after - groupBurst * groupStep) / 1000)), group)
    return false
  end
  redis.call('ZADD', K.rates, number(after), group)
  return true
end
local function readGroups(count)
  local got = 0
  while got < count do
    local group = redis.call('ZRANGE', K.turns, 0, 0)[1]
    if not group then break end
    redis.call('ZREM', K.turns, group)
    local member = first(group)
    if member and mayBegin(group) then
      local id = string.sub(member, #group + 19)
      local record = redis.call('HGET', K.jobs, id)
      redis.call('ZREM', K.grouped, member)
      redis.call('HDEL', K.jobs, id)
      redis.call('HSET', K.at, id, 'g' .. redis.call('XADD', K.g, '*', 'j', record or ''))
      redis.call('HINCRBY', K.active, group, 1)
      got = got + 1
      if first(group) then turn(group) end
    end
  end
  return read('g', got)
end
if groupStep > 0 then
  redis.call('ZREMRANGEBYSCORE', K.rates, '-inf', number(time))
  for _, group in ipairs(redis.call('ZRANGEBYSCORE', K.slow, '-inf', number(time / 1000), 'LIMIT', 0, 100)) do
    redis.call('ZREM', K.slow, group)
    ready(group)
  end
end
n = math.max(n, 0)
local left = n - read('h', n)
-- Jobs with and without a group have half of the rest each, as far as there are any.
left = left - readGroups(math.ceil(left / 2))
left = left - read('n', left)
left = left - readGroups(left)
left = left - read('l', left)
if n > left and step > 0 then
  used = used + (n - left) * step
  redis.call('SET', K.rate, number(used), 'PX', math.max(1, math.ceil((used - time) / 1000)))
end
if n > left then return {0, unpack(jobs)} end
local slow = redis.call('ZRANGE', K.slow, 0, 0, 'WITHSCORES')
if groupStep > 0 and slow[2] then later(slow[2] * 1000 - time) end
local _, h = info(K.h)
local _, normal = info(K.n)
local _, l = info(K.l)
local last = redis.call('XREVRANGE', K.wake, '+', '-', 'COUNT', 1)[1]
return {wait, h, normal, l, last and last[1] or '0-0'}`)
