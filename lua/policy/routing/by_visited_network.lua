-- Routing by visited network (P-Visited-Network-ID of the P-CSCF): who roams is served near where he is. At home,
-- and in a network that is not listed, the first configured server that has the NAF.
local SERVERS = {
  ["visited1.net"] = "north",
  ["visited2.net"] = "south",
}

local TO = {}
for network, name in pairs(SERVERS) do TO[network] = ims.forward { to = name } end

local policy = {}

function policy.broadcast(req, portion, ctx)
  return ctx.visited_network and TO[ctx.visited_network:lower()]
end

return policy
