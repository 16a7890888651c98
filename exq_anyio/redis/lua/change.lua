-- Move, change or delete entries of a queue or a sorted set, each only if its exact bytes are still there.
--
-- KEYS  1 queue or sorted set, 2 queues, then the places and unique locks that ARGV points to
-- ARGV  1 list or zset, 2 bytes that are no payload, 3 whether to look for an entry in the whole list (1 or 0),
--       then a list of operations:
--         d payload position                   delete
--         e payload position new               replace it where it is, in a list
--         q payload position new key name      to the head of the queue at KEYS[key]
--         f payload position new key name      to its tail
--         z payload position new key score     to the sorted set at KEYS[key]
--         u key jid                            the entry before, if it was there, frees the lock that jid holds
--       The position in a list is where it was seen, from the head.
-- Answer: a string with a 1 for each entry that was there and a 0 for each that was not.
--
-- To remove many entries from the midst of a list, each is overwritten first, and then all are removed in one pass.

local kind, GONE, whole = ARGV[1], ARGV[2], ARGV[3] == '1'
local width = {d = 3, e = 4, q = 6, f = 6, z = 6, u = 3}
local target = {q = 'list', f = 'list', z = 'zset'}
local FIRST, NEAR = 4, 1000

local bad = wrong(KEYS[1], kind) or wrong(KEYS[2], 'set')
local at = FIRST
while not bad and at <= #ARGV do
  local op = ARGV[at]
  if target[op] then bad = wrong(KEYS[tonumber(ARGV[at + 4])], target[op]) end
  if op == 'u' then bad = wrong(KEYS[tonumber(ARGV[at + 1])], 'string') end
  at = at + width[op]
end
if bad then return bad end
if #ARGV >= FIRST then redis.call('SREM', KEYS[2], '') end -- a write first, so that it works on a full server

local length, shift = kind == 'list' and redis.call('LLEN', KEYS[1]) or 0, 0

-- Where the payload is in the list, or nothing.  Jobs that came to the head have shifted all alike.
local function place(payload, seen)
  if redis.call('LINDEX', KEYS[1], seen + shift) == payload then return seen + shift end
  local near_head = seen * 2 < length
  local most = whole and 0 or (near_head and seen or length - seen) + NEAR
  local found = redis.call('LPOS', KEYS[1], payload, 'RANK', near_head and 1 or -1, 'MAXLEN', math.max(0, most))
  if found then shift = found - seen end
  return found
end

local gone, nearest, farthest = 0, length, 0
local function taken(payload, seen, replacement)
  if kind == 'zset' then return redis.call('ZREM', KEYS[1], payload) == 1 end
  local found = place(payload, seen)
  if not found then return false end
  redis.call('LSET', KEYS[1], found, replacement or GONE)
  if not replacement then
    gone, nearest, farthest = gone + 1, math.min(nearest, found), math.max(farthest, found)
  end
  return true
end

local answer, was_there = {}, false
at = FIRST
while at <= #ARGV do
  local op = ARGV[at]
  if op == 'u' then
    local key = KEYS[tonumber(ARGV[at + 1])]
    if was_there and redis.call('GET', key) == ARGV[at + 2] then redis.call('DEL', key) end
  else
    was_there = taken(ARGV[at + 1], tonumber(ARGV[at + 2]), op == 'e' and ARGV[at + 3])
    answer[#answer + 1] = was_there and '1' or '0'
    if was_there and target[op] then
      local key, new = KEYS[tonumber(ARGV[at + 4])], ARGV[at + 3]
      if op == 'z' then
        redis.call('ZADD', key, ARGV[at + 5], new)
      else
        redis.call('SADD', KEYS[2], ARGV[at + 5])
        redis.call(op == 'q' and 'LPUSH' or 'RPUSH', key, new)
      end
    end
  end
  at = at + width[op]
end
if gone > 0 then
  redis.call('LREM', KEYS[1], length - nearest <= farthest and -gone or gone, GONE)
end
return table.concat(answer)
