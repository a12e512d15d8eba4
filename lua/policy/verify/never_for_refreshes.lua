-- A first registration is checked in the HSS, a refresh never: the profile that comes with the registration counts.
local ALWAYS = ims.verify { subscription = "always", at = "after_authentication" }
local NEVER = ims.verify { subscription = "never" }

local policy = {}

function policy.verify(req, ctx)
  if req.kind == "refresh" then return NEVER end
  return ALWAYS
end

return policy
