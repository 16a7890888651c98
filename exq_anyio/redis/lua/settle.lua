-- Write what became of a group of jobs: each only if its payload is still in the node's backup queue.
--
-- KEYS  1 lease, 2 retry, 3 schedule, 4 dead, 5-7 processed, 8-10 failed (total, by day, by second),
--       then the backup lists, queue lists and unique locks that ARGV points to
-- ARGV  1 token, 2 number of this settle, 3 most dead jobs, 4 score of the oldest dead job kept,
--       then a list of operations; a capital letter looks for the payload from the head, a small one from the tail:
--         q backup queue        the jobs that follow were taken from KEYS[queue] to KEYS[backup]
--         Q backup queue        likewise, from its head: it is Resque's too
--         d payload             done: counts as processed
--         f payload             failed and gone: counts as processed and failed
--         r payload entry score to retry: processed and failed
--         s payload entry score to schedule: processed
--         x payload entry score to dead: processed and failed
--         g payload entry score to dead, counting nothing (it was no job)
--         b payload entry       back to the end of the queue that is taken from next, counting nothing
--         u key jid             the job before, if it was there, frees the lock at KEYS[key] that jid holds
-- Answer: a string with a 1 for each job that was there and a 0 for each that was not; then, after a space, the key
-- of a counter that cannot count.
--
-- A repeat of the last number returns the last answer and changes nothing: a reply may be lost, payloads may be
-- equal byte for byte, and a job pushed back may have been fetched again meanwhile.  A lower number is refused: a
-- server that hung executes, when it wakes, what we gave up and have sent again on another connection.

local width = {q = 3, d = 2, f = 2, r = 4, s = 4, x = 4, g = 4, b = 3, u = 3}
local target = {r = 2, s = 3, x = 4, g = 4}
local counts = {d = {1, 0}, f = {1, 1}, r = {1, 1}, s = {1, 0}, x = {1, 1}, g = {0, 0}, b = {0, 0}}
local FIRST, TRIMMED, FIVE_YEARS, TWO_MINUTES = 5, 1000, 157680000, 120

local bad = lost(KEYS[1], ARGV[1])
if bad then return bad end
local last = redis.call('HMGET', KEYS[1], 'number', 'answer')
if last[1] == ARGV[2] then return last[2] end
if last[1] and tonumber(last[1]) > tonumber(ARGV[2]) then
  return redis.error_reply('EXQLATE a later settle was written')
end

local at = FIRST
while at <= #ARGV do
  local op = string.lower(ARGV[at])
  if op == 'q' then
    bad = bad or wrong(KEYS[tonumber(ARGV[at + 1])], 'list') or wrong(KEYS[tonumber(ARGV[at + 2])], 'list')
  elseif op == 'u' then
    bad = bad or wrong(KEYS[tonumber(ARGV[at + 1])], 'string')
  elseif target[op] then
    bad = bad or wrong(KEYS[target[op]], 'zset')
  end
  at = at + width[op]
end
if bad then return bad end

local backup, queue, back, answer, was_there, died = nil, nil, nil, {}, false, false
local processed, failed = 0, 0
at = FIRST
while at <= #ARGV do
  local op = string.lower(ARGV[at])
  if op == 'q' then
    backup, queue = KEYS[tonumber(ARGV[at + 1])], KEYS[tonumber(ARGV[at + 2])]
    back = op == ARGV[at] and 'RPUSH' or 'LPUSH'
  elseif op == 'u' then
    local key = KEYS[tonumber(ARGV[at + 1])]
    if was_there and redis.call('GET', key) == ARGV[at + 2] then redis.call('DEL', key) end
  else
    was_there = redis.call('LREM', backup, op == ARGV[at] and -1 or 1, ARGV[at + 1]) == 1
    answer[#answer + 1] = was_there and '1' or '0'
    if was_there then
      processed, failed = processed + counts[op][1], failed + counts[op][2]
      if op == 'b' then
        redis.call(back, queue, ARGV[at + 2])
      elseif target[op] then
        add(KEYS[target[op]], ARGV[at + 3], ARGV[at + 2])
        died = died or target[op] == 4
      end
    end
  end
  at = at + width[op]
end
answer = table.concat(answer)
redis.call('HSET', KEYS[1], 'number', ARGV[2], 'answer', answer)

if died then
  local old = redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', '(' .. ARGV[4], 'LIMIT', 0, TRIMMED)
  if #old > 0 then redis.call('ZREM', KEYS[4], unpack(old)) end
  local over = math.min(redis.call('ZCARD', KEYS[4]) - tonumber(ARGV[3]), TRIMMED - #old)
  if over > 0 then redis.call('ZREMRANGEBYRANK', KEYS[4], 0, over - 1) end
end

-- The counters come last, under pcall: a counter that somebody broke must not undo or repeat a job.
local broken = ''
local function count(first, by)
  if by == 0 then return end
  for key = first, first + 2 do
    if type(redis.pcall('INCRBY', KEYS[key], by)) == 'table' then broken = ' ' .. KEYS[key] end
  end
  redis.pcall('EXPIRE', KEYS[first + 1], FIVE_YEARS)
  redis.pcall('EXPIRE', KEYS[first + 2], TWO_MINUTES)
end
count(5, processed)
count(8, failed)
return answer .. broken
