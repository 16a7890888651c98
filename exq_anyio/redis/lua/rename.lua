-- Replace payloads in the node's backup queue, each only if it is there: a job without a jid gets one before it runs.
--
-- KEYS  1 lease, 2 backup
-- ARGV  1 token, then pairs: payload, its replacement
-- Answer: how many were replaced.

local bad = lost(KEYS[1], ARGV[1]) or wrong(KEYS[2], 'list')
if bad then return bad end
local replaced = 0
for at = 2, #ARGV, 2 do
  if redis.call('LREM', KEYS[2], 1, ARGV[at]) == 1 then
    redis.call('LPUSH', KEYS[2], ARGV[at + 1])
    replaced = replaced + 1
  end
end
return replaced
