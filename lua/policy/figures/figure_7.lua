-- Figure 7: simultaneous, push. The key goes to the server before the 200, which then speaks for both.
local policy = {}

function policy.broadcast(req, portion, ctx)
  local server = ctx.servers:by_naf(portion.naf_id)
  if not server then return nil end
  return ims.forward {
    to = server.name,
    parts = { "key", "identity" },
    key = "push",
    when = "before_200",
    on_failure = ctx.all_or_nothing and "reject" or "pending",
  }
end

return policy
