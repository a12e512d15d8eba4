-- Turns the list of configured servers into what a policy sees as ctx.servers:
-- a read-only list with two look-ups. Loaded by the Rust side, never by a policy.
local lower, type, error = string.lower, type, error
local freeze, setmetatable, ipairs = table.freeze, setmetatable, ipairs

return function(list)
  local nafs, names = {}, {}
  for _, server in ipairs(list) do
    names[server.name] = server
    for _, fqdn in ipairs(server.naf_ids) do
      local key = lower(fqdn)
      nafs[key] = nafs[key] or server -- the first in the configuration wins
    end
    freeze(server.naf_ids)
    freeze(server)
  end

  local lookup = freeze({
    by_naf = function(self, fqdn)
      if self ~= list then error("call it with a colon: ctx.servers:by_naf(fqdn)", 2) end
      if type(fqdn) ~= "string" then return nil end
      return nafs[fqdn] or nafs[lower(fqdn)]
    end,
    by_name = function(self, name)
      if self ~= list then error("call it with a colon: ctx.servers:by_name(name)", 2) end
      if name == nil then return nil end
      return names[name]
    end,
  })
  -- Frozen by the caller: table.freeze refuses a table whose metatable is protected.
  return setmetatable(list, { __index = lookup, __metatable = false })
end
