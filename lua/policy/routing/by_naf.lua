-- Routing by NAF: the portion goes to the server that has the service. A NAF that is not listed goes to the
-- first configured server that has it.
local SERVERS = {
  ["tv.home1.net"] = "north",
  ["radio.home1.net"] = "south",
}

local TO = {}
for naf_id, name in pairs(SERVERS) do TO[naf_id] = ims.forward { to = name } end

local policy = {}

function policy.broadcast(req, portion, ctx)
  return TO[portion.naf_id]
end

return policy
