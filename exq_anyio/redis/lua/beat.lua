-- One heartbeat: we live, and this is what we are doing.
--
-- KEYS  1 lease, 2 leases, 3 processes, 4 heartbeats, 5 process entry, 6 work, 7 workers, 8 counts of this minute,
--       9 counts of these ten minutes, then a histogram for each worker that ran
-- ARGV  1 token, 2 node id, 3 seconds that entries live, 4 how many of the arguments after the sixth are fields and
--       values of the process entry, 5 how many after those are of running jobs, three each: thread id, entry for
--       work, entry for workers; 6 number of the counts, 0 for none; then for each worker: name, processed, failed,
--       milliseconds, how many arguments follow, and those: buckets of its histogram and what to add to each
-- Answer: the key of a counter that cannot count, or nothing; an error that names another broken key, though the
-- heartbeat may be made.
--
-- The counts of one number are added once: a reply may be lost.

local bad = lost(KEYS[1], ARGV[1])
if bad then return bad end
local time = redis.call('TIME')
local now = time[1] .. '.' .. string.format('%06d', time[2])
local removed = redis.pcall('SREM', KEYS[2], '') -- a write first, so that it works on a full server; it removes nothing
if type(removed) == 'table' then return wrong(KEYS[2], 'set') or removed end
local added = redis.pcall('ZADD', KEYS[4], now, ARGV[2])
if type(added) == 'table' then return wrong(KEYS[4], 'zset') or added end
redis.call('SADD', KEYS[2], ARGV[2])

-- The rest is for people to look at: where it cannot be written, the node must not be taken for dead.
local listed = redis.call('EXISTS', KEYS[6], KEYS[7]) > 0
bad = wrong(KEYS[3], 'set') or wrong(KEYS[5], 'hash')
if listed then bad = bad or wrong(KEYS[6], 'hash') or wrong(KEYS[7], 'hash') end
if bad then return bad end
if listed then redis.call('DEL', KEYS[6], KEYS[7]) end
redis.call('SADD', KEYS[3], ARGV[2])
local last = 6 + tonumber(ARGV[4])
redis.call('HSET', KEYS[5], 'beat', now, unpack(ARGV, 7, last))
redis.call('EXPIRE', KEYS[5], ARGV[3])
local first, counts = last + 1, last + 1 + tonumber(ARGV[5])
for at = first, counts - 1, 3 do
  redis.call('HSET', KEYS[6], ARGV[at], ARGV[at + 1])
  redis.call('HSET', KEYS[7], ARGV[at], ARGV[at + 2])
end
if counts > first then
  redis.call('EXPIRE', KEYS[6], ARGV[3])
  redis.call('EXPIRE', KEYS[7], ARGV[3])
end

if ARGV[6] == '0' or redis.call('HGET', KEYS[1], 'measured') == ARGV[6] then return '' end
redis.call('HSET', KEYS[1], 'measured', ARGV[6])
local MINUTES, TEN_MINUTES = 28800, 259200
local broken = ''
local function try(command, key, ...)
  local answer = redis.pcall(command, key, ...)
  if type(answer) == 'table' and answer.err then broken = key end
end
local at, histogram = counts, 10
while at <= #ARGV do
  for offset, metric in ipairs({'|p', '|f', '|ms'}) do
    if ARGV[at + offset] ~= '0' then
      try('HINCRBY', KEYS[8], ARGV[at] .. metric, ARGV[at + offset])
      try('HINCRBY', KEYS[9], ARGV[at] .. metric, ARGV[at + offset])
    end
  end
  local buckets, grown = at + 5, {}
  at = buckets + tonumber(ARGV[at + 4])
  for bucket = buckets, at - 1, 2 do
    for _, part in ipairs({'INCRBY', 'u16', '#' .. ARGV[bucket], ARGV[bucket + 1]}) do grown[#grown + 1] = part end
  end
  if #grown > 0 then
    try('BITFIELD', KEYS[histogram], 'OVERFLOW', 'SAT', unpack(grown))
    redis.pcall('EXPIRE', KEYS[histogram], MINUTES)
  end
  histogram = histogram + 1
end
redis.pcall('EXPIRE', KEYS[8], MINUTES)
redis.pcall('EXPIRE', KEYS[9], TEN_MINUTES)
return broken
