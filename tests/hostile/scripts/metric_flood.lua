-- error or timeout: a new metric, and a new label value, for every request
return {
  authorized = function()
    local n = 0
    while true do
      n = n + 1
      metric.counter("users", { user = "u" .. n }):add()
      metric.counter("m" .. n):add()
    end
  end,
}
