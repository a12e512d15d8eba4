-- Figure 8: simultaneous, pull. The payload goes to the server, which asks for the key; then comes the 200.
local policy = {}

function policy.broadcast(req, portion, ctx)
  local server = ctx.servers:by_naf(portion.naf_id)
  if not server then return nil end
  return ims.forward {
    to = server.name,
    parts = { "payload", "identity" },
    key = "pull",
    when = "before_200",
    on_failure = ctx.all_or_nothing and "reject" or "pending",
  }
end

return policy
