-- The fields and values of each hash, flat; nothing for a key that is missing or of another type.
-- KEYS  hashes    ARGV  none
-- Answer: a list for each key.

local found = {}
for at, key in ipairs(KEYS) do
  found[at] = redis.call('TYPE', key).ok == 'hash' and redis.call('HGETALL', key) or {}
end
return found
