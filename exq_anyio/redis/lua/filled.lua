-- Which of many queues hold jobs and are not paused; and the names of all queues, when their number has changed.
-- Hundreds of lists that are missing cost one command, as those of queues that are empty are.
--
-- KEYS  1 queues, 2 paused, then queue lists
-- ARGV  1 number of names when they were last read, 2 length of what stands before the name in the key of a queue
-- Answer: {number of names, names (none if as many as before), for each list that holds jobs its place, from 0}

local bad = wrong(KEYS[1], 'set') or wrong(KEYS[2], 'set')
if bad then return bad end
local count, names, found = redis.call('SCARD', KEYS[1]), {}, {}
if count ~= tonumber(ARGV[1]) then names = redis.call('SMEMBERS', KEYS[1]) end
for first = 3, #KEYS, 250 do
  local last = math.min(first + 249, #KEYS)
  if redis.call('EXISTS', KEYS[first], unpack(KEYS, first + 1, last)) > 0 then
    for at = first, last do
      local length = redis.pcall('LLEN', KEYS[at])
      local full = type(length) == 'number' and length > 0
      if full and redis.call('SISMEMBER', KEYS[2], string.sub(KEYS[at], ARGV[2] + 1)) == 0 then
        found[#found + 1] = at - 3
      end
    end
  end
end
return {count, names, found}
