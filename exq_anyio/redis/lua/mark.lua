-- Note a deploy, once a minute for each label, as Sidekiq does: every process of a deploy may say so.
-- KEYS  1 marks of the day, 2 lock of the label
-- ARGV  1 the minute (ISO), 2 label, 3 seconds that marks live, 4 seconds that the lock lives
-- Answer: 1 when it is noted, 0 when the label was less than a minute ago.

local bad = wrong(KEYS[1], 'hash') or wrong(KEYS[2], 'string')
if bad then return bad end
if not redis.call('SET', KEYS[2], ARGV[1], 'NX', 'EX', ARGV[4]) then return 0 end
redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[3])
return 1
