-- Free places of holders whose node has no lease of that token any more: it has left, or was condemned.
--
-- KEYS  1 limit (hash: holder to number of places), then the lease of each holder
-- ARGV  holder and token of each
-- Answer: how many holders were removed.

local bad = wrong(KEYS[1], 'hash')
for at = 2, #KEYS do bad = bad or wrong(KEYS[at], 'hash') end
if bad then return bad end
local removed = 0
for at = 2, #KEYS do
  if redis.call('HGET', KEYS[at], 'token') ~= ARGV[2 * at - 2] then
    removed = removed + redis.call('HDEL', KEYS[1], ARGV[2 * at - 3])
  end
end
return removed
