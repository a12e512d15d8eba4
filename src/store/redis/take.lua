-- Takes an entity out. KEYS: entity, due list of its bucket. ARGV: its name in that list.
local all = redis.call('HGETALL', KEYS[1])
if #all > 0 then
  redis.call('DEL', KEYS[1])
  redis.call('ZREM', KEYS[2], ARGV[1])
end
return all
