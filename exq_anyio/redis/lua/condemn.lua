-- Take a dead node's lease away, so that whatever it still tries is refused.
--
-- KEYS  1 lease, 2 heartbeats, 3 leases
-- ARGV  1 node id, 2 score that its heartbeat must still have ("" for none asked), 3 token that its lease must
--       still hold ("" for none asked)
-- Answer: 1 when it is condemned, 0 when it has moved since.

local bad = wrong(KEYS[1], 'hash') or wrong(KEYS[2], 'zset') or wrong(KEYS[3], 'set')
if bad then return bad end
if ARGV[2] ~= '' and redis.call('ZSCORE', KEYS[2], ARGV[1]) ~= ARGV[2] then return 0 end
if ARGV[3] ~= '' and redis.call('HGET', KEYS[1], 'token') ~= ARGV[3] then return 0 end
local alone = redis.call('HGET', KEYS[1], 'alone')
redis.call('DEL', KEYS[1])
-- What stays says that anybody may finish the rescue, should we die over it, and which job ran alone.
redis.call('HSET', KEYS[1], 'condemned', '1')
if alone then redis.call('HSET', KEYS[1], 'alone', alone) end
redis.call('SADD', KEYS[3], ARGV[1])
return 1
