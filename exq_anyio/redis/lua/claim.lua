-- Take a node id that nobody holds.
-- KEYS  1 lease, 2 leases, 3 heartbeats
-- ARGV  1 token, 2 node id, then fields and values of the lease (the process that owns it)
-- Answer: 1 when it is ours (already, if the reply to the same claim was lost), 0 when another node holds it or has not been cleared away.

local bad = wrong(KEYS[1], 'hash') or wrong(KEYS[2], 'set') or wrong(KEYS[3], 'zset')
if bad then return bad end
if redis.call('HGET', KEYS[1], 'token') == ARGV[1] then return 1 end
if redis.call('EXISTS', KEYS[1]) == 1 or redis.call('ZSCORE', KEYS[3], ARGV[2]) then return 0 end
redis.call('DEL', KEYS[1]) -- a write that frees memory, so that a worker can start on a full server
redis.call('HSET', KEYS[1], 'token', ARGV[1], unpack(ARGV, 3))
redis.call('SADD', KEYS[2], ARGV[2])
return 1
