-- error: reads and writes beyond both ends
return {
  authorized = function()
    local b = buffer.create(8)
    for _, at in { -1, 5, 8, 2 ^ 31, -2 ^ 31, 2 ^ 53, 0 / 0, 1 / 0 } do
      assert(not pcall(buffer.readf64, b, at))
      assert(not pcall(buffer.writeu32, b, at, 1))
      assert(not pcall(buffer.fill, b, at, 1, 8))
      assert(not pcall(buffer.copy, b, at, b, 0, 8))
      assert(not pcall(buffer.readstring, b, at, 8))
      assert(not pcall(buffer.readstring, b, 0, at))
    end
    return buffer.readu8(b, 8)
  end,
}
