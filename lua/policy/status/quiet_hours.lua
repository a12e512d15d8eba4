-- Quiet hours: from FROM to TO, local time, nothing is told before TO. Times are UTC and OFFSET hours.
local OFFSET = 1
local FROM, TO = 1, 5

local policy = {}

local function pause(now)
  local second = (now + OFFSET * 3600) % 86400
  if second >= FROM * 3600 and second < TO * 3600 then return TO * 3600 - second end
  return 0
end

function policy.status(event, ctx)
  local after = pause(ctx.now)
  if event.system == "ims" then
    return ims.notify { to = event.servers, by = "third_party_register", after = after }
  end
  return ims.notify { to = "ims", by = "message", after = after }
end

return policy
