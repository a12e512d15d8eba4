-- error or timeout: yields out of a protected call, in a loop
return {
  authorized = function()
    while true do
      local ok, why = pcall(coroutine.yield)
      if not ok then error(why) end
    end
  end,
}
