-- error or timeout: fills what all workers share
return {
  authorized = function()
    local long, n = ("x"):rep(4000), 0
    while true do
      n = n + 1
      shared.set("key" .. n, long)
    end
  end,
}
