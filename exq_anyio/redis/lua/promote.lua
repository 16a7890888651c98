-- Move due entries to their queues, each only if it is still there: another node may have moved it.
--
-- KEYS  1 schedule or retry, 2 dead, 3 queues, then queue lists
-- ARGV  groups of four: member, payload, key, name; key 2 sends the payload to dead with name as its score; a negative
--       one to the tail of its queue, which is Resque's too
-- Answer: how many were moved.

local bad = wrong(KEYS[1], 'zset')
for at = 4, #KEYS do bad = bad or wrong(KEYS[3], 'set') or wrong(KEYS[at], 'list') end
for at = 3, #ARGV, 4 do
  if ARGV[at] == '2' then bad = bad or wrong(KEYS[2], 'zset'); break end
end
if bad then return bad end
local moved = 0
for at = 1, #ARGV, 4 do
  if redis.call('ZREM', KEYS[1], ARGV[at]) == 1 then
    local key = tonumber(ARGV[at + 2])
    if key == 2 then
      add(KEYS[2], ARGV[at + 3], ARGV[at + 1])
    else
      redis.call('SADD', KEYS[3], ARGV[at + 3])
      redis.call(key < 0 and 'RPUSH' or 'LPUSH', KEYS[math.abs(key)], ARGV[at + 1])
    end
    moved = moved + 1
  end
end
return moved
