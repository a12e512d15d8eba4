-- error: table functions past the lock
return {
  authorized = function(req, ctx)
    assert(not pcall(table.insert, ims, 1))
    assert(not pcall(table.clear, string))
    assert(not pcall(table.move, { 1 }, 1, 1, 1, ctx.servers))
    assert(not pcall(table.sort, ctx.servers))
    assert(not pcall(table.remove, ctx.servers, 1))
    table.clear(ctx.servers)
  end,
}
