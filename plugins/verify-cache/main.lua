-- verify-cache: asks the HSS for the subscription as seldom as the operator thinks right.

local stages = {}

local conf = plugin.conf

local function check(subscription)
  local age = subscription == "cached" and math.floor(conf.max_age) or nil
  return ims.verify { subscription = subscription, max_age = age, at = conf.at }
end

-- Verdicts do not change, so they are made once.
local by_kind = {
  initial = check(conf.initial),
  refresh = check(conf.refresh),
  deregister = check(conf.deregister),
}
local always = check("always")

function stages.verify(req, ctx)
  if ctx.visited_network and conf.visitors == "always" and ctx.kind ~= "deregister" then return always end
  return by_kind[ctx.kind]
end

return stages
