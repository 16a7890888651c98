-- Move up to `limit` payloads from the tail of a queue to the head of the node's backup queue.
-- RPOP and LPUSH, not LMOVE: at `maxmemory` LMOVE is refused, and a full server could never drain.
--
-- KEYS  1 lease, 2 queue, 3 backup, 4 paused
-- ARGV  1 token, 2 limit, 3 name of the queue, 4 1 when it is taken from at its head, as Resque does
-- Answer: {length of the backup, 1 when the queue is paused, payloads, the oldest first}

-- The reads refuse a key of another type by themselves, so that a look at an empty queue takes four of them.
local token = redis.pcall('HGET', KEYS[1], 'token')
local paused = redis.pcall('SISMEMBER', KEYS[4], ARGV[3])
local waiting, held = redis.pcall('LLEN', KEYS[2]), redis.pcall('LLEN', KEYS[3])
if token ~= ARGV[1] or type(paused) == 'table' or type(waiting) == 'table' or type(held) == 'table' then
  return lost(KEYS[1], ARGV[1]) or wrong(KEYS[2], 'list') or wrong(KEYS[3], 'list') or wrong(KEYS[4], 'set')
end
if paused == 1 or waiting == 0 then return {held, paused, {}} end
local taken = redis.call(ARGV[4] == '1' and 'LPOP' or 'RPOP', KEYS[2], ARGV[2])
return {redis.call('LPUSH', KEYS[3], unpack(taken)), 0, taken}
