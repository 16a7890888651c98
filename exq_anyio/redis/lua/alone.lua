-- Note that the node begins a job that was rescued often, and that no other such job runs on it.
-- KEYS  1 lease    ARGV  1 token, 2 jid

local bad = lost(KEYS[1], ARGV[1])
if bad then return bad end
redis.call('HDEL', KEYS[1], 'alone') -- a write that frees memory first, so that it works on a full server
return redis.call('HSET', KEYS[1], 'alone', ARGV[2])
