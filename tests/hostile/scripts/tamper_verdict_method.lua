-- error or harmless: calls what a verdict's metatable may hold
return {
  authorized = function()
    local verdict = ims.skip("x")
    for _, name in { "__gc", "__close", "__index", "__newindex", "__metatable", "__type", "__name" } do
      pcall(function() return verdict[name] end)
      pcall(function() verdict[name]() end)
      pcall(function() verdict[name] = 1 end)
    end
    return nil
  end,
}
