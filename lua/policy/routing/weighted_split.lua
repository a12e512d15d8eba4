-- Weighted split: three of four users on one server, the fourth on another. By a hash of the private identity, so
-- that a user's refreshes find the server that has his key. Change the weights and some users move: the server that
-- they leave is told.
local SPLIT = {
  { server = "north", weight = 3 },
  { server = "south", weight = 1 },
}

local total = 0
for _, entry in ipairs(SPLIT) do
  total = total + entry.weight
  entry.verdict = ims.forward { to = entry.server }
end

local function hash(text)
  local sum = 5381
  for i = 1, #text do sum = (sum * 33 + text:byte(i)) % 4294967291 end
  return sum
end

local policy = {}

function policy.broadcast(req, portion, ctx)
  local place = hash(ctx.impi) % total
  for _, entry in ipairs(SPLIT) do
    if place < entry.weight then return entry.verdict end
    place = place - entry.weight
  end
end

return policy
