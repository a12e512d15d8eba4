-- Figure 5: subsequent; the terminal goes to the server itself. Its REGISTER usually has no portion
-- and this stage is not asked; one that has is registered with the IMS alone.
local policy = {}

function policy.broadcast(req, portion, ctx)
  local server = ctx.servers:by_naf(portion.naf_id)
  if not server then return nil end
  return ims.forward { to = server.name, parts = {}, key = "on_use", when = "by_terminal" }
end

return policy
