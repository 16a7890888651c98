-- Count jobs that begin now under a rate, as many as are wanted and may.
--
-- KEYS  1 rate (sliding: zset of beginnings by time; fixed: hash of window and count; bucket: hash of tokens and time)
-- ARGV  1 kind, 2 count, 3 seconds, 4 burst, 5 wanted, 6 holder, 7 number of the first
-- Answer: how many may begin, seconds until there may be one more, window.

local kind, count, per, wanted = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[5])
local bad = wrong(KEYS[1], kind == 'sliding' and 'zset' or 'hash')
if bad then return bad end
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local granted, wait, window = 0, 0, ''
if kind == 'sliding' then
  redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.6f', now - per))
  local used = redis.call('ZCARD', KEYS[1])
  granted = math.max(0, math.min(wanted, count - used))
  for number = ARGV[7], ARGV[7] + granted - 1 do
    redis.call('ZADD', KEYS[1], string.format('%.6f', now), ARGV[6] .. ':' .. string.format('%d', number))
  end
  -- Where the limit was lowered, more than one has to pass first.
  if granted == 0 then wait = redis.call('ZRANGE', KEYS[1], used - count, used - count, 'WITHSCORES')[2] + per - now end
elseif kind == 'fixed' then
  local index = math.floor(now / per)
  window = string.format('%d', index)
  local used = 0
  if redis.call('HGET', KEYS[1], 'window') == window then used = tonumber(redis.call('HGET', KEYS[1], 'count')) or 0 end
  granted = math.max(0, math.min(wanted, count - used))
  if granted > 0 then redis.call('HSET', KEYS[1], 'window', window, 'count', used + granted) end
  if granted == 0 then wait = (index + 1) * per - now end
else
  local burst = tonumber(ARGV[4])
  local tokens = tonumber(redis.call('HGET', KEYS[1], 'tokens') or burst)
  local at = tonumber(redis.call('HGET', KEYS[1], 'at') or now)
  tokens = math.min(burst, tokens + math.max(0, now - at) * count / per)
  granted = math.max(0, math.min(wanted, math.floor(tokens)))
  redis.call('HSET', KEYS[1], 'tokens', string.format('%.9f', tokens - granted), 'at', string.format('%.6f', now))
  if granted == 0 then wait = (1 - tokens) * per / count end
end
redis.call('PEXPIRE', KEYS[1], math.ceil(per * 2000) + 1000)
return {granted, string.format('%.6f', math.max(0, wait)), window}
