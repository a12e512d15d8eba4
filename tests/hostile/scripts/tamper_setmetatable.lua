-- error: a metatable for what is shared
return {
  authorized = function(req, ctx)
    local evil = { __index = function() return "evil" end }
    assert(not pcall(setmetatable, ims, evil))
    assert(not pcall(setmetatable, string, evil))
    assert(not pcall(setmetatable, ctx.servers, evil))
    assert(not pcall(setmetatable, _G, evil))
    setmetatable(ctx.servers[1], evil)
  end,
}
