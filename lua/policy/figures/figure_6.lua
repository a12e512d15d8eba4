-- Figure 6: simultaneous, pull on use. The server authorises the service before the 200; it asks for the
-- key when the terminal first turns to it.
local policy = {}

function policy.broadcast(req, portion, ctx)
  local server = ctx.servers:by_naf(portion.naf_id)
  if not server then return nil end
  return ims.forward {
    to = server.name,
    parts = { "payload", "identity" },
    key = "on_use",
    when = "before_200",
    on_failure = ctx.all_or_nothing and "reject" or "pending",
  }
end

return policy
