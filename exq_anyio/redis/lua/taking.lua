-- Note that the node takes from a queue: rescue looks for backup queues there.
-- KEYS  1 lease, 2 taken    ARGV  1 token, 2 name of the queue

local bad = lost(KEYS[1], ARGV[1]) or wrong(KEYS[2], 'set')
if bad then return bad end
redis.call('SREM', KEYS[2], '') -- a write first, so that it works on a full server
return redis.call('SADD', KEYS[2], ARGV[2])
