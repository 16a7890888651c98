-- Queues, with the job of each that is taken next; a key of another type is an empty queue.
-- KEYS  1 queues, 2 paused, then queue lists
-- ARGV  the names of the queues, then for each 1 when it is taken from at its head, as Resque does
-- Answer: {unix seconds now, then for each: length, 1 when paused, 1 when in the set of queues, payload}

local bad = wrong(KEYS[1], 'set') or wrong(KEYS[2], 'set')
if bad then return bad end
local time = redis.call('TIME')
local found = {time[1] .. '.' .. string.format('%06d', time[2])}
for at = 1, #ARGV / 2 do
  local name, head = ARGV[at], ARGV[at + #ARGV / 2] == '1'
  local key = KEYS[at + 2]
  local list = redis.call('TYPE', key).ok == 'list'
  found[#found + 1] = list and redis.call('LLEN', key) or 0
  found[#found + 1] = redis.call('SISMEMBER', KEYS[2], name)
  found[#found + 1] = redis.call('SISMEMBER', KEYS[1], name)
  found[#found + 1] = list and redis.call('LINDEX', key, head and 0 or -1) or ''
end
return found
