-- Move due entries to their queues, each only if it is still there: another node may have moved it.
--
-- KEYS  1 schedule or retry, 2 dead, 3 queues, then queue lists
-- ARGV  groups of four: member, payload, key, name; key 2 sends the payload to dead with name as its score; a negative
--       one to the tail of its queue, which is Resque's too
-- Answer: how many were moved.

local bad = wrong(KEYS[1], 'zset')
for at = 4, #KEYS do bad = bad or wrong(KEYS[3], 'set') or wrong(KEYS[at], 'list') end
for at = 3, #ARGV, 4 do
  if ARGV[at] == '2' then bad = bad or wrong(KEYS[2], 'zset'); break end
end
if bad then return bad end
local moved, named = 0, {}
local key, run = nil, {}

-- Jobs go out in runs: one call for all that follow each other into the same queue.
local function flush()
  if #run > 0 then redis.call(key < 0 and 'RPUSH' or 'LPUSH', KEYS[math.abs(key)], unpack(run)); run = {} end
end

for at = 1, #ARGV, 4 do
  if redis.call('ZREM', KEYS[1], ARGV[at]) == 1 then
    local to = tonumber(ARGV[at + 2])
    if to == 2 then
      add(KEYS[2], ARGV[at + 3], ARGV[at + 1])
    else
      if to ~= key then
        flush()
        key = to
        if not named[key] then redis.call('SADD', KEYS[3], ARGV[at + 3]); named[key] = true end
      end
      run[#run + 1] = ARGV[at + 1]
      if #run == 1000 then flush() end
    end
    moved = moved + 1
  end
end
flush()
return moved
