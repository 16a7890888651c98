-- Free a unique lock if jid still holds it.
-- KEYS  1 lock    ARGV  1 jid

local bad = wrong(KEYS[1], 'string')
if bad then return bad end
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
