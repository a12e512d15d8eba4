-- timeout: as long as the guards admit, again and again
return {
  authorized = function()
    local hay, needle = ("a"):rep(65000), ("a"):rep(250) .. "b"
    while true do hay:find(needle, 1, true) end
  end,
}
