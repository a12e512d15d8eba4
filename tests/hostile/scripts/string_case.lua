-- timeout or error: upper, lower and reverse of megabytes
return {
  authorized = function()
    local s = ("x"):rep(60000):rep(16)
    while true do s:upper():lower():reverse() end
  end,
}
