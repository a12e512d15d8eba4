-- timeout or error or memory: a new metric, and a new label value, for every request
return {
  authorized = function()
    local n = 0
    while true do
      n = n + 1
      pcall(function() metric.counter("m" .. n):add(1, { user = "u" .. n }) end)
      pcall(function() metric.counter("m" .. n, { user = "u" .. n }) end)
    end
  end,
}
