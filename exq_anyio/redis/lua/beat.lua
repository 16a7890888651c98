-- One heartbeat: we live, and this is what we are doing.
--
-- KEYS  1 lease, 2 leases, 3 processes, 4 heartbeats, 5 process entry, 6 work, 7 workers
-- ARGV  1 token, 2 node id, 3 seconds that entries live, 4 count of fields and values that follow for the process
--       entry, those, then triples for each running job: thread id, entry for work, entry for workers
-- Answer: the server's time as unix seconds; an error that names a broken key, though the heartbeat may be made.

local bad = lost(KEYS[1], ARGV[1]) or wrong(KEYS[2], 'set') or wrong(KEYS[4], 'zset')
if bad then return bad end
local time = redis.call('TIME')
local now = time[1] .. '.' .. string.format('%06d', time[2])
redis.call('SREM', KEYS[2], '') -- a write first, so that it works on a full server
redis.call('SADD', KEYS[2], ARGV[2])
redis.call('ZADD', KEYS[4], now, ARGV[2])

-- The rest is for people to look at: where it cannot be written, the node must not be taken for dead.
bad = wrong(KEYS[3], 'set') or wrong(KEYS[5], 'hash') or wrong(KEYS[6], 'hash') or wrong(KEYS[7], 'hash')
if bad then return bad end
redis.call('DEL', KEYS[6], KEYS[7])
redis.call('SADD', KEYS[3], ARGV[2])
local last = 4 + tonumber(ARGV[4])
redis.call('HSET', KEYS[5], 'beat', now, unpack(ARGV, 5, last))
redis.call('EXPIRE', KEYS[5], ARGV[3])
for at = last + 1, #ARGV, 3 do
  redis.call('HSET', KEYS[6], ARGV[at], ARGV[at + 1])
  redis.call('HSET', KEYS[7], ARGV[at], ARGV[at + 2])
end
redis.call('EXPIRE', KEYS[6], ARGV[3])
redis.call('EXPIRE', KEYS[7], ARGV[3])
return now
