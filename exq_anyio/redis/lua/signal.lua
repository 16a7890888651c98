-- Send a signal to nodes, as Sidekiq and Exq do; a queue is paused or resumed in the same step.
--
-- KEYS  1 paused, then triples: lease, process entry and signals of a node
-- ARGV  1 signal, 2 seconds that it lives, 3 SADD to pause, SREM to resume, or "" to leave paused alone, 4 the queue
-- Answer: a string with a 1 for each node that is there, and was sent it, and a 0 for each that is not.

local bad = wrong(KEYS[1], 'set')
if bad then return bad end
if ARGV[3] == 'SADD' then redis.call('SADD', KEYS[1], ARGV[4]) end
if ARGV[3] == 'SREM' then redis.call('SREM', KEYS[1], ARGV[4]) end
local sent = {}
for at = 2, #KEYS, 3 do
  local kind = redis.call('TYPE', KEYS[at + 2]).ok
  local there = redis.call('EXISTS', KEYS[at], KEYS[at + 1]) > 0 and (kind == 'none' or kind == 'list')
  if there then
    redis.call('LPUSH', KEYS[at + 2], ARGV[1])
    redis.call('EXPIRE', KEYS[at + 2], ARGV[2])
  end
  sent[#sent + 1] = there and '1' or '0'
end
return table.concat(sent)
