-- Remove every trace of a node; its backup queues must be empty.
-- KEYS  1 lease, 2 leases, 3 processes, 4 heartbeats, 5.. the node's other keys
-- ARGV  1 token that the lease must hold ("" when it must be condemned), 2 node id
-- Answer: 1 when done, 0 when the lease is another's.

local bad = wrong(KEYS[1], 'hash') or wrong(KEYS[2], 'set') or wrong(KEYS[3], 'set') or wrong(KEYS[4], 'zset')
if bad then return bad end
if (redis.call('HGET', KEYS[1], 'token') or '') ~= ARGV[1] then return 0 end
redis.call('SREM', KEYS[2], ARGV[2])
redis.call('SREM', KEYS[3], ARGV[2])
redis.call('ZREM', KEYS[4], ARGV[2])
redis.call('DEL', KEYS[1], unpack(KEYS, 5))
return 1
