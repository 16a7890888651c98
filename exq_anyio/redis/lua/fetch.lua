-- Move up to `limit` payloads from the tail of a queue to the head of the node's backup queue.
-- RPOP and LPUSH, not LMOVE: at `maxmemory` LMOVE is refused, and a full server could never drain.
--
-- KEYS  1 lease, 2 queue, 3 backup, 4 paused
-- ARGV  1 token, 2 limit, 3 name of the queue, 4 1 when it is taken from at its head, as Resque does
-- Answer: {length of the backup, 1 when the queue is paused, payloads, the oldest first}

local bad = lost(KEYS[1], ARGV[1]) or wrong(KEYS[2], 'list') or wrong(KEYS[3], 'list') or wrong(KEYS[4], 'set')
if bad then return bad end
if redis.call('SISMEMBER', KEYS[4], ARGV[3]) == 1 then
  return {redis.call('LLEN', KEYS[3]), 1, {}}
end
local taken = redis.call(ARGV[4] == '1' and 'LPOP' or 'RPOP', KEYS[2], ARGV[2])
if not taken or #taken == 0 then
  return {redis.call('LLEN', KEYS[3]), 0, {}}
end
return {redis.call('LPUSH', KEYS[3], unpack(taken)), 0, taken}
