-- Undo what was counted of jobs that did not begin after all.
--
-- KEYS  1 rate, as limit_take.lua has it
-- ARGV  1 kind, 2 window, 3 burst, 4 holder, 5 number of the first, 6 how many
-- Answer: nothing.

local kind, count = ARGV[1], tonumber(ARGV[6])
local bad = wrong(KEYS[1], kind == 'sliding' and 'zset' or 'hash')
if bad then return bad end
if kind == 'sliding' then
  for number = ARGV[5], ARGV[5] + count - 1 do
    redis.call('ZREM', KEYS[1], ARGV[4] .. ':' .. string.format('%d', number))
  end
elseif kind == 'fixed' then
  if redis.call('HGET', KEYS[1], 'window') == ARGV[2] then redis.call('HINCRBY', KEYS[1], 'count', -count) end
elseif redis.call('EXISTS', KEYS[1]) == 1 then
  local tokens = tonumber(redis.call('HGET', KEYS[1], 'tokens') or 0)
  redis.call('HSET', KEYS[1], 'tokens', string.format('%.9f', math.min(tonumber(ARGV[3]), tokens + count)))
end
return 0
