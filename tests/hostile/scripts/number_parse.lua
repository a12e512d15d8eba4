-- timeout or error or harmless: numbers of a megabyte
return {
  authorized = function()
    local digits = ("9"):rep(60000):rep(16)
    for _ = 1, 1000 do
      tonumber(digits)
      tonumber(digits, 36)
    end
  end,
}
