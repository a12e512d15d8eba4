-- Routing by time of day: a second server takes the evening. Times are local: UTC and OFFSET hours.
local OFFSET = 1
local HOURS = {
  { from = 18, to = 24, server = "south" }, -- from 18:00 until midnight
}
local OTHERWISE = ims.forward { to = "north" }

for _, entry in ipairs(HOURS) do entry.verdict = ims.forward { to = entry.server } end

local policy = {}

function policy.broadcast(req, portion, ctx)
  local hour = (ctx.now / 3600 + OFFSET) % 24
  for _, entry in ipairs(HOURS) do
    if hour >= entry.from and hour < entry.to then return entry.verdict end
  end
  return OTHERWISE
end

return policy
