-- Hold places under a limit of the fleet: as many as are wanted, and free.
--
-- KEYS  1 limit (hash: holder to number of places), 2 lease
-- ARGV  1 token, 2 holder, 3 most of all holders, 4 wanted, 5 least: those are in use already
-- Answer: how many are held.

local bad = lost(KEYS[2], ARGV[1]) or wrong(KEYS[1], 'hash')
if bad then return bad end
local others, held = 0, redis.call('HGETALL', KEYS[1])
for at = 1, #held, 2 do
  if held[at] ~= ARGV[2] then others = others + (tonumber(held[at + 1]) or 0) end
end
local mine = math.max(tonumber(ARGV[5]), math.min(tonumber(ARGV[4]), tonumber(ARGV[3]) - others))
if mine > 0 then redis.call('HSET', KEYS[1], ARGV[2], mine) else redis.call('HDEL', KEYS[1], ARGV[2]) end
return mine
