-- flap-damping: the first few changes of a user are told at once. After them news is held back, and a newer change takes
-- the place of one that waits: the other side hears the last state, once, when the user has come to rest.

local stages = {}

local conf = plugin.conf
local HOLD = math.max(1, math.floor(conf.hold))

local held = metric.counter("held")

function stages.status(event, ctx)
  -- A refresh changes nothing; what fails for good should be known at once.
  if event.state == event.previous or event.state == "failed" or not event.impi then return nil end

  local key = string.sub(event.system .. " " .. event.impi, 1, 256)
  if shared.incr(key, 1, { ttl = conf.window }) <= conf.changes then return nil end
  if event.system == "broadcast" then
    held:add()
    return ims.notify { to = "ims", by = "message", after = HOLD }
  end
  if #event.servers == 0 then return nil end
  held:add()
  return ims.notify { to = event.servers, by = "third_party_register", after = HOLD }
end

return stages
