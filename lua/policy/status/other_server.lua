-- Status to another server: every change of a broadcast registration is also told to one that keeps the overview.
local OVERVIEW = "overview"

local policy = {}

function policy.status(event, ctx)
  if event.system == "broadcast" then
    return ims.notify { to = { "ims", OVERVIEW }, by = "message" }
  end
end

return policy
