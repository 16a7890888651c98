-- Take the name of a queue out of the set of queues, if the queue is empty.
-- KEYS  1 queue, 2 queues    ARGV  1 name of the queue
-- Answer: 1 when it was taken out, else 0.

local bad = wrong(KEYS[1], 'list') or wrong(KEYS[2], 'set')
if bad then return bad end
if redis.call('LLEN', KEYS[1]) > 0 then return 0 end
return redis.call('SREM', KEYS[2], ARGV[1])
