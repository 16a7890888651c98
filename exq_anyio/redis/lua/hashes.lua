-- The fields and values of each hash, flat; nothing for a key that is missing or of another type.
-- KEYS  hashes    ARGV  the fields that are wanted; none: all
-- Answer: a list for each key.

local found = {}
for at, key in ipairs(KEYS) do
  found[at] = {}
  if redis.call('TYPE', key).ok == 'hash' then
    if #ARGV == 0 then
      found[at] = redis.call('HGETALL', key)
    else
      for place, value in ipairs(redis.call('HMGET', key, unpack(ARGV))) do
        if value then
          found[at][#found[at] + 1] = ARGV[place]
          found[at][#found[at] + 1] = value
        end
      end
    end
  end
end
return found
