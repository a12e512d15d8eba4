-- @NAME@: sends the broadcast portion of visitors to a server of their own.
--
-- A stage returns a verdict of `ims`, or nil: no opinion, the next one is asked.

local plugin_table = {}

local server = plugin.conf.server

function plugin_table.broadcast(req, portion, ctx)
  if not ctx.visited_network then return nil end
  if not ctx.servers:by_name(server) then
    log.warn("no such broadcast server is configured", { server = server })
    return nil
  end
  return ims.forward { to = server, parts = { "key", "identity" }, on_failure = "pending" }
end

return plugin_table
