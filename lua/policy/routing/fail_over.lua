-- Fail-over: the first server, and where it does not answer or says that it cannot, the next in the list. All of them
-- must be configured for the NAF; the leg's time ([broadcast] timeout) is shared between those that are tried.
local ORDER = { "north", "south", "east" }

local FIRST = ims.forward { to = ORDER[1] }
local NEXT = {}
for i = 2, #ORDER do NEXT[ORDER[i - 1]] = ims.retry { to = ORDER[i] } end

local policy = {}

function policy.broadcast(req, portion, ctx)
  return FIRST
end

function policy.failure(req, failure, ctx)
  -- A refusal of the user's (403, 404, …) is the same everywhere; silence and 5xx are the server's own trouble.
  if failure.status and failure.status < 500 and failure.status ~= 408 then return ims.give_up() end
  return NEXT[failure.server] or ims.give_up()
end

return policy
