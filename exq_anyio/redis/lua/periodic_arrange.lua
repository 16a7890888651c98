-- Define, pause, resume or remove periodic jobs, each only if it is still defined as it was seen.
--
-- KEYS  1 periodic (zset: name by next tick), 2 periodic:jobs (hash: name to definition), 3 periodic:paused (set),
--       4 periodic:last (hash: name to last tick and jid)
-- ARGV  groups of five: name, definition as it was seen ('' for none), definition ('' to remove it), next tick ('' for
--       none, '=' to change the definition alone), whether it is paused
-- Answer: for each group whether it was done.

local bad = wrong(KEYS[1], 'zset') or wrong(KEYS[2], 'hash') or wrong(KEYS[3], 'set') or wrong(KEYS[4], 'hash')
if bad then return bad end
local answer = {}
for at = 1, #ARGV, 5 do
  local name, kept = ARGV[at], ARGV[at + 2]
  local same = (redis.call('HGET', KEYS[2], name) or '') == ARGV[at + 1]
  if same then
    if kept == '' then
      redis.call('HDEL', KEYS[2], name)
      redis.call('HDEL', KEYS[4], name)
    else
      redis.call('HSET', KEYS[2], name, kept)
    end
    local coming = ARGV[at + 3]
    if coming == '' then redis.call('ZREM', KEYS[1], name) end
    if coming ~= '' and coming ~= '=' then redis.call('ZADD', KEYS[1], coming, name) end
    if coming ~= '=' then redis.call(ARGV[at + 4] == '1' and 'SADD' or 'SREM', KEYS[3], name) end
  end
  answer[#answer + 1] = same and 1 or 0
end
return answer
