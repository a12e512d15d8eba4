-- Takes what is due in a bucket until another time. KEYS: due list. ARGV: now, time until which, most, what the names of
-- the bucket begin with. Entities that have run out are struck off. Answers what was claimed and when the next is due.
local claimed = {}
for _, name in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, ARGV[3])) do
  if redis.call('EXISTS', ARGV[4] .. name) == 1 then
    redis.call('ZADD', KEYS[1], ARGV[2], name)
    claimed[#claimed + 1] = name
  else
    redis.call('ZREM', KEYS[1], name)
  end
end
return {claimed, redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')}
