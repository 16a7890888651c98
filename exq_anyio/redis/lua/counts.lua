-- How many jobs are where, at one instant.
--
-- KEYS  1 schedule, 2 retry, 3 dead, 4 processed, 5 failed, then lists
-- Answer: their sizes and values, in this order; a counter that is not there is 0.

local bad = wrong(KEYS[1], 'zset') or wrong(KEYS[2], 'zset') or wrong(KEYS[3], 'zset')
bad = bad or wrong(KEYS[4], 'string') or wrong(KEYS[5], 'string')
for at = 6, #KEYS do bad = bad or wrong(KEYS[at], 'list') end
if bad then return bad end
local counts = {}
for at = 1, 3 do counts[at] = redis.call('ZCARD', KEYS[at]) end
for at = 4, 5 do counts[at] = tonumber(redis.call('GET', KEYS[at]) or '0') or 0 end
for at = 6, #KEYS do counts[at] = redis.call('LLEN', KEYS[at]) end
return counts
