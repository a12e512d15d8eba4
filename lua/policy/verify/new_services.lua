-- The HSS is asked only when the terminal wants something new: a NAF, or a service id in its provisioning payload, that
-- no earlier check of this user covered. What was checked is held for a day, and lost with the node.
local NEW = ims.verify { subscription = "new_services", at = "after_authentication" }

local policy = {}

function policy.verify(req, ctx)
  return NEW
end

return policy
