-- Figure 3: subsequent, push. The 200 speaks for the IMS alone; then the key goes to the server.
local policy = {}

function policy.broadcast(req, portion, ctx)
  local server = ctx.servers:by_naf(portion.naf_id)
  if not server then return nil end
  return ims.forward {
    to = server.name,
    parts = { "key", "identity" },
    key = "push",
    when = "after_200",
    on_failure = ctx.all_or_nothing and "reject" or "pending",
  }
end

return policy
