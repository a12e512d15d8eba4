-- Routing by payload: the service ids that the terminal orders (globalIDRef) decide; the first that has an entry
-- counts, by what it begins with. Without an order the first configured server that has the NAF.
local SERVERS = {
  { begins = "urn:service:sport", server = "north" },
  { begins = "urn:service:film", server = "south" },
}

for _, entry in ipairs(SERVERS) do entry.verdict = ims.forward { to = entry.server } end

local policy = {}

function policy.broadcast(req, portion, ctx)
  if not portion.payload then return nil end
  for id in portion.payload:gmatch("globalIDRef%s*=%s*[\"']([^\"']*)") do
    for _, entry in ipairs(SERVERS) do
      if id:sub(1, #entry.begins) == entry.begins then return entry.verdict end
    end
  end
end

return policy
