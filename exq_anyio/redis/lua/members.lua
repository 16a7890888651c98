-- The members of each set.
-- KEYS  sets    ARGV  none
-- Answer: a list for each key.

local found = {}
for at, key in ipairs(KEYS) do
  local bad = wrong(key, 'set')
  if bad then return bad end
  found[at] = redis.call('SMEMBERS', key)
end
return found
