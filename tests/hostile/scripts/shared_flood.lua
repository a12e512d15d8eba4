-- timeout or error or memory: fills what all workers share
return {
  authorized = function()
    local space, n = shared.space and shared.space("flood") or shared, 0
    local long = ("x"):rep(10000)
    while true do
      n = n + 1
      pcall(function() space:set("key" .. n, long) end)
      pcall(function() space.set("key" .. n, long) end)
    end
  end,
}
