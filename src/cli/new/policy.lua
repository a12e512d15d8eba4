-- @NAME@: the operator's policy.
--
-- A policy returns a table of functions, one per stage. A stage that is left out, or returns nil, has no opinion:
-- the server's default for it applies.

local policy = {}

-- A refresh comes every few minutes: an answer of the HSS that is not older than five minutes will do for it.
function policy.verify(req, ctx)
  if req.kind == "refresh" then
    return ims.verify { subscription = "cached", max_age = 300 }
  end
  return ims.verify { subscription = "always" }
end

-- Servers are found by the NAF that the terminal names, and only among the configured ones.
function policy.broadcast(req, portion, ctx)
  local server = ctx.servers:by_naf(portion.naf_id)
  if not server then
    return ims.skip("no broadcast server for this NAF")
  end
  return ims.forward { to = server.name, on_failure = "pending" }
end

return policy
