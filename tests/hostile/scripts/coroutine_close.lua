-- timeout: coroutines made, suspended and closed without end
return {
  authorized = function()
    while true do
      local co = coroutine.create(function() while true do coroutine.yield() end end)
      coroutine.resume(co)
      coroutine.close(co)
    end
  end,
}
