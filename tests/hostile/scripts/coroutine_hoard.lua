-- memory or timeout: suspended coroutines are kept
local kept = {}
return {
  authorized = function()
    while true do
      local co = coroutine.create(function()
        local held = table.create(1000, 0)
        coroutine.yield(held)
      end)
      coroutine.resume(co)
      kept[#kept + 1] = co
    end
  end,
}
