-- The periodic jobs that are due, and when the next one is.
--
-- KEYS  1 periodic (zset: name by next tick), 2 periodic:jobs (hash: name to definition)
-- ARGV  1 most that are returned
-- Answer: the time, the first tick that is not due ('' for none), then name, score and definition of each that is due.

local bad = wrong(KEYS[1], 'zset') or wrong(KEYS[2], 'hash')
if bad then return bad end
local time = redis.call('TIME')
local now = string.format('%d.%06d', time[1], time[2])
local coming = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. now, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
local answer = {now, coming[2] or ''}
local found = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'WITHSCORES', 'LIMIT', 0, ARGV[1])
for at = 1, #found, 2 do
  answer[#answer + 1] = found[at]
  answer[#answer + 1] = found[at + 1]
  answer[#answer + 1] = redis.call('HGET', KEYS[2], found[at]) or ''
end
return answer
