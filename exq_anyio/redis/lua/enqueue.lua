-- Push jobs, now or later, in one isolated step; unique locks are taken in the same step.
--
-- KEYS  1 queues (set), 2 schedule (zset), then the queue lists and unique locks that ARGV points to
-- ARGV  a list of operations:
--         q key name        the jobs that follow go to the queue at KEYS[key]
--         Q key name        likewise, to its tail: it is Resque's too
--         u key jid ttl     the next job needs the lock at KEYS[key] for ttl milliseconds
--         p payload         push, now
--         s payload score   add to schedule
-- Answer: position (from 0) and holder of each job whose lock was taken, flat.

local width = {q = 3, Q = 3, u = 4, p = 2, s = 3}

local bad, at = nil, 1
while not bad and at <= #ARGV do
  local op = ARGV[at]
  if op == 'q' or op == 'Q' then bad = wrong(KEYS[1], 'set') or wrong(KEYS[tonumber(ARGV[at + 1])], 'list') end
  if op == 's' then bad = wrong(KEYS[2], 'zset') end
  if op == 'u' then bad = wrong(KEYS[tonumber(ARGV[at + 1])], 'string') end
  at = at + width[op]
end
if bad then return bad end

local queue, push, run, conflicts, holder, job = nil, nil, {}, {}, nil, 0

-- Pushes go out in runs of at most 1,000: one call for many jobs, within Lua's limit on arguments.
local function flush()
  if #run > 0 then redis.call(push, queue, unpack(run)); run = {} end
end

at = 1
while at <= #ARGV do
  local op = ARGV[at]
  if op == 'q' or op == 'Q' then
    flush()
    queue, push = KEYS[tonumber(ARGV[at + 1])], op == 'q' and 'LPUSH' or 'RPUSH'
    redis.call('SADD', KEYS[1], ARGV[at + 2])
  elseif op == 'u' then
    local key = KEYS[tonumber(ARGV[at + 1])]
    holder = redis.call('GET', key)
    if not holder then redis.call('SET', key, ARGV[at + 2], 'PX', ARGV[at + 3]) end
  else
    if holder then
      conflicts[#conflicts + 1] = job
      conflicts[#conflicts + 1] = holder
      holder = nil
    elseif op == 'p' then
      run[#run + 1] = ARGV[at + 1]
      if #run == 1000 then flush() end
    else
      add(KEYS[2], ARGV[at + 2], ARGV[at + 1])
    end
    job = job + 1
  end
  at = at + width[op]
end
flush()
return conflicts
