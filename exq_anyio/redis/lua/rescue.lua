-- Put payloads of a dead node's backup queue back where they are taken next, each only if it is there.
--
-- KEYS  1 lease of the dead node (must be condemned), 2 backup, 3 queue, 4 dead, 5 queues
-- ARGV  1 name of the queue, 2 score for dead jobs, then triples, the newest first: payload, replacement, and q, Q (the
--       queue is taken from at its head, as Resque does) or x (dead)
-- Answer: how many were moved.

local bad = wrong(KEYS[1], 'hash') or wrong(KEYS[2], 'list') or wrong(KEYS[3], 'list') or wrong(KEYS[4], 'zset') or wrong(KEYS[5], 'set')
if bad then return bad end
if redis.call('HGET', KEYS[1], 'token') then return 0 end
local moved = 0
for at = 3, #ARGV, 3 do
  if redis.call('LREM', KEYS[2], 1, ARGV[at]) == 1 then
    if ARGV[at + 2] == 'x' then
      add(KEYS[4], ARGV[2], ARGV[at + 1])
    else
      redis.call(ARGV[at + 2] == 'q' and 'RPUSH' or 'LPUSH', KEYS[3], ARGV[at + 1])
      redis.call('SADD', KEYS[5], ARGV[1])
    end
    moved = moved + 1
  end
end
return moved
