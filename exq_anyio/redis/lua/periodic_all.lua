-- All periodic jobs.
--
-- KEYS  1 periodic (zset: name by next tick), 2 periodic:jobs (hash: name to definition), 3 periodic:paused (set),
--       4 periodic:last (hash: name to last tick and jid)
-- Answer: the time, then name, definition, next tick ('' for none), whether it is paused, and the last tick of each.

local bad = wrong(KEYS[1], 'zset') or wrong(KEYS[2], 'hash') or wrong(KEYS[3], 'set') or wrong(KEYS[4], 'hash')
if bad then return bad end
local time = redis.call('TIME')
local answer = {string.format('%d.%06d', time[1], time[2])}
local jobs = redis.call('HGETALL', KEYS[2])
for at = 1, #jobs, 2 do
  answer[#answer + 1] = jobs[at]
  answer[#answer + 1] = jobs[at + 1]
  answer[#answer + 1] = redis.call('ZSCORE', KEYS[1], jobs[at]) or ''
  answer[#answer + 1] = redis.call('SISMEMBER', KEYS[3], jobs[at])
  answer[#answer + 1] = redis.call('HGET', KEYS[4], jobs[at]) or ''
end
return answer
