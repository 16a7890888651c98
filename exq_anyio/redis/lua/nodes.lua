-- Every node that has a heartbeat or a lease.
-- KEYS  1 heartbeats, 2 leases
-- Answer: {unix seconds now, node ids and scores of heartbeats, flat, node ids of leases}; scores as text, exact.

local beats, leases = redis.pcall('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES'), redis.pcall('SMEMBERS', KEYS[2])
if beats.err or leases.err then return wrong(KEYS[1], 'zset') or wrong(KEYS[2], 'set') end
local time = redis.call('TIME')
return {time[1] .. '.' .. string.format('%06d', time[2]), beats, leases}
