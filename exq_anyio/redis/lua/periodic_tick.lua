-- Enqueue what periodic jobs are due, and say when they are due next: each only if it is still as it was seen, so that
-- of all nodes that see a tick one enqueues it, however often and however late they ask.
--
-- KEYS  1 periodic (zset: name by next tick), 2 periodic:jobs (hash: name to definition),
--       3 periodic:last (hash: name to last tick and jid), 4 queues (set), then queue lists and unique locks
-- ARGV  groups: name, definition, score as it was seen ('' beside its ticks), next tick ('' for none), last tick and
--       jid ('' as it is), number of jobs; then for each job: key (negative where it goes to the tail, as it is Resque's
--       too) and name of its queue, payload, key of its lock (0 for none), jid, milliseconds of the lock
-- Answer: for each group how many jobs were enqueued, or -1 when it was not as it was seen.

local bad = wrong(KEYS[1], 'zset') or wrong(KEYS[2], 'hash') or wrong(KEYS[3], 'hash') or wrong(KEYS[4], 'set')
local at = 1
while not bad and at <= #ARGV do
  local last = at + 5 + 6 * ARGV[at + 5]
  for job = at + 6, last, 6 do
    bad = bad or wrong(KEYS[math.abs(ARGV[job])], 'list')
    if ARGV[job + 3] ~= '0' then bad = bad or wrong(KEYS[tonumber(ARGV[job + 3])], 'string') end
  end
  at = last + 1
end
if bad then return bad end

local answer = {}
at = 1
while at <= #ARGV do
  local name, seen = ARGV[at], ARGV[at + 2]
  local last = at + 5 + 6 * ARGV[at + 5]
  local same = redis.call('HGET', KEYS[2], name) == ARGV[at + 1]
  if seen ~= '' then same = same and redis.call('ZSCORE', KEYS[1], name) == seen end
  local enqueued = same and 0 or -1
  if same then
    for job = at + 6, last, 6 do
      local lock, free = tonumber(ARGV[job + 3]), true
      if lock > 0 then
        free = redis.call('SET', KEYS[lock], ARGV[job + 4], 'NX', 'PX', ARGV[job + 5]) and true
      end
      redis.call('SADD', KEYS[4], ARGV[job + 1])
      if free then
        local key = tonumber(ARGV[job])
        redis.call(key < 0 and 'RPUSH' or 'LPUSH', KEYS[math.abs(key)], ARGV[job + 2])
        enqueued = enqueued + 1
      end
    end
    if ARGV[at + 4] ~= '' then redis.call('HSET', KEYS[3], name, ARGV[at + 4]) end
    if seen ~= '' then
      if ARGV[at + 3] == '' then
        redis.call('ZREM', KEYS[1], name)
      else
        redis.call('ZADD', KEYS[1], ARGV[at + 3], name)
      end
    end
  end
  answer[#answer + 1] = enqueued
  at = last + 1
end
return answer
