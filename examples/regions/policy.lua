-- Three regions, one service. A terminal is served where it is: by the visited network if it roams, else by its number.
-- Where a region's server is out of order, its neighbour takes over.

local BY_NETWORK = {
  ["west.example"] = "west",
}

local BY_NUMBER = {
  { begins = "tel:+1201", server = "north" },
  { begins = "tel:+1202", server = "south" },
}

local OTHERWISE = "north"

local NEIGHBOUR = { north = "south", south = "north", west = "south" }

local policy = {}

local function region(ctx)
  local of_network = ctx.visited_network and BY_NETWORK[ctx.visited_network]
  if of_network then return of_network end
  for _, entry in ipairs(BY_NUMBER) do
    if ctx.impu:sub(1, #entry.begins) == entry.begins then return entry.server end
  end
  return OTHERWISE
end

function policy.broadcast(req, portion, ctx)
  local server = ctx.servers:by_name(region(ctx))
  log.info(ctx.impu .. " is served by " .. server.name)
  return ims.forward { to = server.name }
end

function policy.failure(req, failure, ctx)
  if failure.attempt == 1 then return ims.retry { to = NEIGHBOUR[failure.server] } end
end

-- A new service is checked in the HSS, the same again is not.
function policy.verify(req, ctx)
  return ims.verify { subscription = "new_services" }
end

-- Ends and failures are told only if they last ten seconds.
function policy.status(event, ctx)
  local after = event.state == "registered" and 0 or 10
  if event.system == "ims" then
    return ims.notify { to = event.servers, by = "third_party_register", after = after }
  end
  return ims.notify { to = "ims", by = "message", after = after }
end

return policy
