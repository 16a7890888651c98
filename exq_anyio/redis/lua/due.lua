-- A page of the entries that are due by the server's clock, the earliest first.
-- KEYS  1 schedule or retry    ARGV  1 most entries
-- Answer: {unix seconds now, members}

local bad = wrong(KEYS[1], 'zset')
if bad then return bad end
local time = redis.call('TIME')
local now = time[1] .. '.' .. string.format('%06d', time[2])
return {now, redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])}
