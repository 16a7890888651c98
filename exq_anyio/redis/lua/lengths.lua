-- The length of each list; 0 for a key that is missing or of another type.
-- KEYS  lists    ARGV  none
-- Answer: a number for each key.

local found = {}
for at, key in ipairs(KEYS) do
  local length = redis.pcall('LLEN', key)
  found[at] = type(length) == 'number' and length or 0
end
return found
