package jobs

import "github.com/heliograph/heliograph/internal/redisio"

var (
	// luaPutSchedule replaces a schedule if it still is what it was. It returns 0 if it
	// is not, and -1 if the queue has too many.
	//
	// KEYS schedules, fires, notes; ARGV name, old ('': none), new ('': remove), next run
	// (-1: none), most schedules.
	luaPutSchedule = redisio.NewScript(luaShared + `
local name, next = ARGV[1], ARGV[4]
if (redis.call('HGET', KEYS[1], name) or '') ~= ARGV[2] then return 0 end
if ARGV[2] == '' and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[5]) then return -1 end
redis.call('ZREM', KEYS[2], name)
if ARGV[3] == '' then
  redis.call('HDEL', KEYS[1], name)
  return 1
end
redis.call('HSET', KEYS[1], name, ARGV[3])
if tonumber(next) >= 0 then
  redis.call('ZADD', KEYS[2], next, name)
  if redis.call('ZRANGE', KEYS[2], 0, 0)[1] == name then note(KEYS[3], 'due', '') end
end
return 1`)

	// luaTakeSchedules returns the time, and the names and records of schedules that are
	// due, which are due again after a hold, in case the worker dies.
	//
	// KEYS schedules, fires; ARGV hold, how many.
	luaTakeSchedules = redisio.NewScript(luaShared + `
local time = now()
local taken = {time}
for _, name in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', number(time), 'LIMIT', 0, ARGV[2])) do
  local record = redis.call('HGET', KEYS[1], name)
  if record then
    taken[#taken + 1], taken[#taken + 2] = name, record
    redis.call('ZADD', KEYS[2], number(time + ARGV[1]), name)
  else
    redis.call('ZREM', KEYS[2], name)
  end
end
return taken`)

	// luaFire enters the jobs of runs and advances their schedule, if it still is what it
	// was. While the job last waits or runs it enters none. It returns how many.
	//
	// KEYS of the queue, schedules; ARGV name, old, next run (-1: none), new, new without the
	// runs, last ('': does not matter), letter, job group, and of each run id and record.
	luaFire = redisio.NewScript(luaQueue + `
local name, last = ARGV[1], ARGV[6]
if redis.call('HGET', KEYS[24], name) ~= ARGV[2] then return 0 end
local new, runs = ARGV[4], (#ARGV - 8) / 2
if last ~= '' and busy(last) then new, runs = ARGV[5], 0 end
redis.call('HSET', KEYS[24], name, new)
if tonumber(ARGV[3]) >= 0 then
  redis.call('ZADD', K.fires, ARGV[3], name)
else
  redis.call('ZREM', K.fires, name)
end
for i = 9, 7 + 2 * runs, 2 do
  if ARGV[8] ~= '' then redis.call('HSET', K.ingroup, ARGV[i], ARGV[8]) end
  enter(ARGV[i], ARGV[7], ARGV[i + 1])
end
return runs`)
)
