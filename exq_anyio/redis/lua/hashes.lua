-- The fields and values of each hash, flat; nothing for a key that is missing or of another type.
-- KEYS  hashes    ARGV  the fields that are wanted; none: all
-- Answer: a list for each key.

local found = {}
for at, key in ipairs(KEYS) do
  found[at] = {}
  local values = #ARGV == 0 and redis.pcall('HGETALL', key) or #ARGV > 0 and redis.pcall('HMGET', key, unpack(ARGV))
  if values.err then
    values = {} -- of another type
  elseif #ARGV == 0 then
    found[at], values = values, {}
  end
  for place, value in ipairs(values) do
    if value then
      found[at][#found[at] + 1] = ARGV[place]
      found[at][#found[at] + 1] = value
    end
  end
end
return found
