-- A broadcast server and its stand-in. Every answer to a terminal says which of them serves it, and what is registered
-- is counted in the log.
local MAIN = ims.forward { to = "main" }
local STANDBY = ims.retry { to = "standby" }

local policy = {}

function policy.broadcast(req, portion, ctx)
  return MAIN
end

function policy.failure(req, failure, ctx)
  if failure.server == "main" then
    log.warn("main: " .. failure.cause .. "; the stand-in is asked")
    return STANDBY
  end
end

-- An operator's probe: OPTIONS with the list of servers in the answer.
function policy.route(req, ctx)
  if req.method ~= "OPTIONS" then return nil end
  local names = {}
  for i = 1, #ctx.servers do names[i] = ctx.servers[i].name end
  return ims.answer { headers = { ["X-Servers"] = table.concat(names, ", ") } }
end

function policy.reply(resp, ctx)
  resp:set_header("Server", "imscript")
end

function policy.finish(outcome, ctx)
  if outcome.server then
    log.info(ctx.impi .. ": " .. (outcome.broadcast or "-") .. " with " .. outcome.server)
  end
end

return policy
