-- How many jobs are where, at one instant.  A queue or process entry of another type counts nothing.
--
-- KEYS  1 schedule, 2 retry, 3 dead, 4 processed, 5 failed, then queues, then process entries
-- ARGV  1 how many queues
-- Answer: sizes of 1 to 3, values of 4 and 5, all jobs in queues, then for each live node what it says to be busy.

local bad = wrong(KEYS[1], 'zset') or wrong(KEYS[2], 'zset') or wrong(KEYS[3], 'zset')
if bad then return bad end
local found = {}
for at = 1, 3 do found[at] = redis.call('ZCARD', KEYS[at]) end
for at = 4, 5 do
  found[at] = redis.call('TYPE', KEYS[at]).ok == 'string' and redis.call('GET', KEYS[at]) or '0'
end
local waiting, last = 0, 5 + tonumber(ARGV[1])
for at = 6, last do
  if redis.call('TYPE', KEYS[at]).ok == 'list' then waiting = waiting + redis.call('LLEN', KEYS[at]) end
end
found[6] = waiting
for at = last + 1, #KEYS do
  if redis.call('TYPE', KEYS[at]).ok == 'hash' then found[#found + 1] = redis.call('HGET', KEYS[at], 'busy') or '0' end
end
return found
