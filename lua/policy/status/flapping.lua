-- Flapping: an end or a failure is told only if it lasts. Terminals at the edge of coverage lose and find their
-- registration within seconds; a new registration is told at once, and takes the held one's place.
local LASTS = 10

local policy = {}

function policy.status(event, ctx)
  local after = event.state == "registered" and 0 or LASTS
  if event.system == "ims" then
    return ims.notify { to = event.servers, by = "third_party_register", after = after }
  end
  return ims.notify { to = "ims", by = "message", after = after }
end

return policy
