-- The default policy: where an operator starts from.
--
-- A policy returns a table of functions, one per stage. A stage that is left out, or returns nil,
-- has no opinion: the server's default for it applies, as it does after an error. The verdicts are
-- made by the functions of `ims`; a wrong word in one is an error with file and line. Among the stages:
--
--   register(req, ctx)            a REGISTER before authentication
--   verify(req, ctx)              which subscription checks, and when
--   authorized(req, ctx)          the terminal is authentic; its binding is not stored yet
--   broadcast(req, portion, ctx)  what of the REGISTER goes to which broadcast server
--   status(event, ctx)            a registration has changed: who is told
--
-- A verdict that never changes is best made once, up here.

local policy = {}

local CHECK_ALWAYS = ims.verify { subscription = "always", at = "after_authentication" }
local CHECK_CACHED = ims.verify { subscription = "cached", max_age = 300, at = "after_authentication" }
local TELL_IMS = ims.notify { to = "ims", by = "message" }

-- register: the node's own algorithms are what most networks want. To insist on one:
--   function policy.register(req, ctx)
--     return ims.challenge { algorithms = { "AKAv2-SHA-256", "AKAv1-MD5" } }
--   end

-- A refresh comes every few minutes from every terminal: an answer of the HSS that is not older
-- than five minutes will do. A first registration always asks.
function policy.verify(req, ctx)
  if req.kind == "refresh" then return CHECK_CACHED end
  return CHECK_ALWAYS
end

-- authorized: accept with the expiry that the node grants. To shorten it for visitors:
--   function policy.authorized(req, ctx)
--     if ctx.visited_network then return ims.accept { expires = 600 } end
--   end

-- Servers are found by the NAF that the terminal names, and only among the configured ones. The verdict for a server is
-- made once: to return it again costs next to nothing, and this is asked at every registration.
local forwards = { pending = {}, reject = {} }

function policy.broadcast(req, portion, ctx)
  local server = ctx.servers:by_naf(portion.naf_id)
  if not server then
    return ctx.all_or_nothing and ims.reject(403, "Unknown NAF") or ims.skip("no broadcast server for this NAF")
  end
  local on_failure = ctx.all_or_nothing and "reject" or "pending"
  local forward = forwards[on_failure][server.name]
  if not forward then
    forward = ims.forward {
      to = server.name,
      parts = { "key", "payload" }, -- the payload if the terminal sent one
      key = "push",         -- "pull": the server asks for it at once; "on_use": when the terminal first turns to it
      when = "before_200",  -- the 200 speaks for both; "after_200": for the IMS only, the server follows
      on_failure = on_failure,
    }
    forwards[on_failure][server.name] = forward
  end
  return forward
end

-- The two systems tell each other.
function policy.status(event, ctx)
  if event.system == "broadcast" then return TELL_IMS end
  return ims.notify { to = event.servers, by = "third_party_register" }
end

return policy
