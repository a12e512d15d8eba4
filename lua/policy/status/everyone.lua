-- Everyone is told: of the IMS registration the user's broadcast server; of a broadcast registration the IMS and every
-- other configured server.
local policy = {}

function policy.status(event, ctx)
  if event.system == "ims" then
    return ims.notify { to = event.servers, by = "third_party_register" }
  end
  local to = { "ims" }
  for i = 1, #ctx.servers do
    local name = ctx.servers[i].name
    if name ~= event.servers[1] then to[#to + 1] = name end
  end
  return ims.notify { to = to, by = "message" }
end

return policy
