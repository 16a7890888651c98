-- Stands before every script.
--
-- Lua does not roll back, so a script checks the type of every key before its first write and otherwise refuses
-- whole.  A script that has written once may go on writing at `maxmemory`; those that must work on a full server
-- therefore start with a write that frees memory (RPOP, LREM, ZREM, DEL).

-- An error reply when `key` holds another type than `kind`, else nothing.
local function wrong(key, kind)
  local found = redis.call('TYPE', key).ok
  if found ~= 'none' and found ~= kind then
    return redis.error_reply('EXQTYPE ' .. kind .. ' ' .. found .. ' ' .. key)
  end
end

-- Add a job to a sorted set.  A member that is equal byte for byte is another job, and must not fall together with it:
-- the newcomer gets white space at its end, which JSON allows, spelling a number that starts anew with each microsecond.
local copies = nil
local function add(key, score, member)
  local unlike = member
  while redis.call('ZADD', key, 'NX', score, unlike) == 0 do
    copies = (copies or tonumber(redis.call('TIME')[2])) + 1
    local digits, rest = {}, copies
    while rest > 0 do
      digits[#digits + 1] = rest % 2 == 0 and ' ' or '\t'
      rest = math.floor(rest / 2)
    end
    unlike = member .. table.concat(digits)
  end
end

-- An error reply when the lease at `key` is not `token`'s, else nothing.
local function lost(key, token)
  if redis.pcall('HGET', key, 'token') == token then return end
  return wrong(key, 'hash') or redis.error_reply('EXQLOST the lease is not ours')
end
