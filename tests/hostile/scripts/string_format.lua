-- error or memory: widths and precisions beyond the buffer
return {
  authorized = function()
    assert(not pcall(string.format, "%1000d", 1))
    assert(not pcall(string.format, "%.1000f", 1))
    assert(#string.format("%99.99f", 1e308) < 1000)
    local s = ("x"):rep(60000):rep(10)
    return #string.format(("%s"):rep(100), table.unpack(table.create(100, s)))
  end,
}
