-- In which of the sorted sets something is due by the server's clock.
-- KEYS  sorted sets    ARGV  none
-- Answer: for each 1 or 0; 1 for a key of another type too, so that whoever asks for its entries is told.

local time, found = redis.call('TIME'), {}
local now = time[1] .. '.' .. string.format('%06d', time[2])
for at, key in ipairs(KEYS) do
  local count = redis.pcall('ZCOUNT', key, '-inf', now)
  found[at] = count == 0 and 0 or 1
end
return found
