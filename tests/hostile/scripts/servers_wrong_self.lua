-- harmless: methods of the server list on what is none
return {
  authorized = function(req, ctx)
    for _, self in { req, ims, {}, "x", 1 } do
      pcall(ctx.servers.by_naf, self, "x")
      pcall(ctx.servers.by_naf, self, self)
      pcall(ctx.servers.by_name, self, setmetatable({}, { __eq = function() return true end }))
    end
  end,
}
