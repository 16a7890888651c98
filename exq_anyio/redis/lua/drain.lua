-- Delete entries from the end of a queue that is taken from next, or from the lowest score of a set up.
--
-- KEYS  1 queue or sorted set, then unique locks
-- ARGV  1 list or zset, 2 most entries, 3 most bytes of payload, 4 whether locks are kept (1 or 0), then for each entry
--       that may hold a lock: payload, place of the lock in KEYS or 0, jid that must hold it
-- Answer: {how many were deleted, how many are left}
--
-- It stops before an entry that may hold a lock and is not named, for that has come since.

local kind, keeps = ARGV[1], ARGV[4] == '1'
local bad = wrong(KEYS[1], kind)
for at = 2, #KEYS do bad = bad or wrong(KEYS[at], 'string') end
if bad then return bad end

local length, CHUNK = redis.call(kind == 'list' and 'LLEN' or 'ZCARD', KEYS[1]), 128
local most, bytes, named = math.min(tonumber(ARGV[2]), length), tonumber(ARGV[3]), {}
for at = 5, #ARGV, 3 do named[ARGV[at]] = at end

local function chunk(from, to)
  if kind == 'zset' then return redis.call('ZRANGE', KEYS[1], from, to) end
  return redis.call('LRANGE', KEYS[1], -to - 1, -from - 1)
end

local count, freed, size = 0, {}, 1
local function goes(payload)
  if keeps then return true end
  local at = named[payload]
  if not at then return not string.find(payload, 'unique_token', 1, true) end
  if ARGV[at + 1] ~= '0' then freed[#freed + 1] = at end
  return true
end

while count < most and bytes > 0 do
  local payloads = chunk(count, math.min(count + size, most) - 1)
  size = math.min(2 * size, CHUNK) -- small chunks first, as in look
  for at = 1, #payloads do
    local payload = payloads[kind == 'list' and #payloads + 1 - at or at]
    if not goes(payload) then most = count break end
    count, bytes = count + 1, bytes - #payload
  end
end
if count > 0 and kind == 'list' then redis.call('LTRIM', KEYS[1], 0, -count - 1) end
if count > 0 and kind == 'zset' then redis.call('ZREMRANGEBYRANK', KEYS[1], 0, count - 1) end
for _, at in ipairs(freed) do
  local key = KEYS[tonumber(ARGV[at + 1])]
  if redis.call('GET', key) == ARGV[at + 2] then redis.call('DEL', key) end
end
return {count, length - count}
