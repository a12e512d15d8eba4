-- Batching: a user's changes are told once in SECONDS, the last state only. What came back to what the other side last
-- heard is not told at all.
local SECONDS = 30

local policy = {}

function policy.status(event, ctx)
  if event.system == "ims" then
    return ims.notify { to = event.servers, by = "third_party_register", after = SECONDS }
  end
  return ims.notify { to = "ims", by = "message", after = SECONDS }
end

return policy
