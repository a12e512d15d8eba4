-- Changes an entity. KEYS: entity, due list of its bucket. ARGV: its name in that list; version that it is made upon or
-- empty; 1 for whole; due: empty as it is, "-" never, else microseconds; until in milliseconds or empty; then groups of
-- "+", count, name, value … and "-", count, name …
-- The version lies in the field without a name.
local held = redis.call('HGET', KEYS[1], '')
local version = tonumber(held or '0')
if not version then return redis.error_reply('DAMAGED version') end
if ARGV[2] ~= '' and ARGV[2] ~= (held or '0') then return -1 end
local own = held and 1 or 0
if ARGV[3] == '1' then
  redis.call('DEL', KEYS[1])
  own = 0
end
local at = 6
while ARGV[at] do
  local last = at + 1 + tonumber(ARGV[at + 1])
  redis.call(ARGV[at] == '+' and 'HSET' or 'HDEL', KEYS[1], unpack(ARGV, at + 2, last))
  at = last + 1
end
if redis.call('HLEN', KEYS[1]) == own then
  redis.call('DEL', KEYS[1])
  redis.call('ZREM', KEYS[2], ARGV[1])
  return 0
end
local made = version == 0
if made then
  local time = redis.call('TIME')
  version = time[1] * 1000000 + time[2]
else
  version = version + 1
end
redis.call('HSET', KEYS[1], '', string.format('%.0f', version))
if ARGV[4] == '-' or (made and ARGV[4] == '') then
  redis.call('ZREM', KEYS[2], ARGV[1])
elseif ARGV[4] ~= '' then
  redis.call('ZADD', KEYS[2], ARGV[4], ARGV[1])
end
if ARGV[5] ~= '' then
  redis.call('PEXPIREAT', KEYS[1], ARGV[5])
elseif own == 1 then
  redis.call('PERSIST', KEYS[1])
end
return version
