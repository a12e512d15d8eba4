-- The HSS is asked for the broadcast subscription with every registration and refresh that has a broadcast portion,
-- once the terminal is known to be the user's.
local ALWAYS = ims.verify { subscription = "always", at = "after_authentication" }

local policy = {}

function policy.verify(req, ctx)
  return ALWAYS
end

return policy
