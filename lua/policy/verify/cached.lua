-- What the HSS said counts for a while: a subscription that ends is noticed MAX_AGE seconds later at the latest.
-- A refusal is asked anew each time, so a new subscriber need not wait.
local MAX_AGE = 600

local CACHED = ims.verify { subscription = "cached", max_age = MAX_AGE, at = "after_authentication" }

local policy = {}

function policy.verify(req, ctx)
  return CACHED
end

return policy
