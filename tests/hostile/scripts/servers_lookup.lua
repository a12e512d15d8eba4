-- timeout: looks servers up without end
return {
  authorized = function(req, ctx)
    while true do ctx.servers:by_naf("nobody.example") end
  end,
}
