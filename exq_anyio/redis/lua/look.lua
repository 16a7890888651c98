-- One bounded look at a queue or a sorted set, from an offset or after an entry that was seen before.
--
-- KEYS  1 queue or sorted set
-- ARGV  1 list or zset, 2 backwards (1 or 0), 3 most entries, 4 most bytes, 5 lowest score, 6 highest score,
--       7 offset, 8 whether there is an entry to go on after (1 or 0), then 9 its payload, 10 its score,
--       11 its position, then texts that a payload must hold
-- Answer: {entries there within the scores, entries looked at, the last that does not hold the texts, those that do};
--       of each the payload, its score and its position, flat.
--
-- A position counts in the order of the walk.  Jobs come to the head of a queue and leave at its tail meanwhile, and
-- sets change everywhere: an entry that has moved is looked for near its place, or by its rank.

local kind, back = ARGV[1], ARGV[2] == '1'
local bad = wrong(KEYS[1], kind)
if bad then return bad end
local NEAR, CHUNK = 1000, 128

local length = redis.call(kind == 'list' and 'LLEN' or 'ZCARD', KEYS[1])
local first, last = 0, length - 1
if kind == 'zset' then
  local below = redis.call('ZCOUNT', KEYS[1], '-inf', '(' .. ARGV[5])
  local above = redis.call('ZCOUNT', KEYS[1], '(' .. ARGV[6], '+inf')
  first, last = back and above or below, length - 1 - (back and below or above)
end

local function chunk(from, to)
  if kind == 'zset' then return redis.call(back and 'ZREVRANGE' or 'ZRANGE', KEYS[1], from, to, 'WITHSCORES') end
  local found = back and redis.call('LRANGE', KEYS[1], -to - 1, -from - 1) or redis.call('LRANGE', KEYS[1], from, to)
  local flat = {}
  for at = 1, #found do
    flat[2 * at - 1] = found[back and #found + 1 - at or at]
    flat[2 * at] = ''
  end
  return flat
end

local function after_entry(payload, score, position)
  if kind == 'zset' then
    if redis.call('ZSCORE', KEYS[1], payload) == score then
      return redis.call(back and 'ZREVRANK' or 'ZRANK', KEYS[1], payload) + 1
    end
    if back then return redis.call('ZCOUNT', KEYS[1], '(' .. score, '+inf') end
    return redis.call('ZCOUNT', KEYS[1], '-inf', '(' .. score)
  end
  if chunk(position, position)[1] == payload then return position + 1 end
  -- From the tail it has come nearer, or is gone; from the head it may be as far as ever many jobs have come.
  local most = back and position + NEAR or 0
  local at = redis.call('LPOS', KEYS[1], payload, 'RANK', back and -1 or 1, 'MAXLEN', most)
  if at then return (back and length - 1 - at or at) + 1 end
  -- What has left at the tail took along all that was behind it.
  return back and 0 or position
end

local at = first + tonumber(ARGV[7])
if ARGV[8] == '1' then at = math.max(first, after_entry(ARGV[9], ARGV[10], tonumber(ARGV[11]))) end

-- JSON may spell a letter or a slash otherwise: such a payload is left to be read.
local function holds(payload)
  for needle = 12, #ARGV do
    if not string.find(payload, ARGV[needle], 1, true)
      and not string.find(payload, '\\u', 1, true) and not string.find(payload, '\\/', 1, true) then
      return false
    end
  end
  return true
end

local most, bytes = math.min(tonumber(ARGV[3]), last + 1 - at), tonumber(ARGV[4])
local looked, passed, found, size = 0, {}, {}, 1
while looked < most and bytes > 0 do
  -- Small chunks first: a hundred payloads of megabytes each must not be copied to look at one.
  local entries = chunk(at + looked, at + math.min(looked + size, most) - 1)
  size = math.min(2 * size, CHUNK)
  for entry = 1, #entries, 2 do
    local payload = entries[entry]
    if holds(payload) then
      found[#found + 1] = payload
      found[#found + 1] = entries[entry + 1]
      found[#found + 1] = at + looked
    else
      passed = {payload, entries[entry + 1], at + looked}
    end
    looked, bytes = looked + 1, bytes - #payload
    if bytes <= 0 then break end
  end
end
return {math.max(0, last + 1 - first), looked, passed, found}
