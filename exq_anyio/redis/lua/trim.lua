-- Remove dead jobs that are too old or too many, a page at a time.
-- KEYS  1 dead    ARGV  1 most dead jobs, 2 seconds that they are kept, 3 most to remove
-- Answer: how many were removed.

local bad = wrong(KEYS[1], 'zset')
if bad then return bad end
local most = tonumber(ARGV[3])
local oldest = tonumber(redis.call('TIME')[1]) - tonumber(ARGV[2])
local old = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '(' .. string.format('%.0f', oldest), 'LIMIT', 0, most)
if #old > 0 then redis.call('ZREM', KEYS[1], unpack(old)) end
local over = math.min(redis.call('ZCARD', KEYS[1]) - tonumber(ARGV[1]), most - #old)
if over > 0 then redis.call('ZREMRANGEBYRANK', KEYS[1], 0, over - 1) end
return #old + math.max(over, 0)
