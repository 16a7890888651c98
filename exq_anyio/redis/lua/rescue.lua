-- Put payloads of a dead node's backup queue back where they are taken next, each only if it is there.
--
-- KEYS  1 lease of the dead node (must be condemned), 2 backup, 3 queue, 4 dead, 5 queues, then unique locks
-- ARGV  1 name of the queue, 2 score for dead jobs, then for each, the newest first: payload, replacement, q, Q (the queue
--       is taken from at its head, as Resque does) or x (dead), place in KEYS of the lock that it frees or 0, jid that
--       must hold that
-- Answer: how many were moved.

local bad = wrong(KEYS[1], 'hash') or wrong(KEYS[2], 'list') or wrong(KEYS[3], 'list') or wrong(KEYS[4], 'zset') or wrong(KEYS[5], 'set')
if bad then return bad end
if redis.call('HGET', KEYS[1], 'token') then return 0 end
local moved = 0
for at = 3, #ARGV, 5 do
  if redis.call('LREM', KEYS[2], 1, ARGV[at]) == 1 then
    if ARGV[at + 2] == 'x' then
      add(KEYS[4], ARGV[2], ARGV[at + 1])
    else
      redis.call(ARGV[at + 2] == 'q' and 'RPUSH' or 'LPUSH', KEYS[3], ARGV[at + 1])
      redis.call('SADD', KEYS[5], ARGV[1])
    end
    local key = KEYS[tonumber(ARGV[at + 3])]
    -- Under pcall: a lock that is no text is not ours, and keeps no job from coming back.
    if key and redis.pcall('GET', key) == ARGV[at + 4] then redis.call('DEL', key) end
    moved = moved + 1
  end
end
return moved
