-- timeout: long formats, again and again
return {
  authorized = function()
    local format, text = ("b"):rep(250), ("x"):rep(250)
    while true do string.unpack(format, text) end
  end,
}
