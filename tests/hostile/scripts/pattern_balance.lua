-- timeout or error: %b over open parentheses, from every position
return {
  authorized = function()
    local s = ("("):rep(60000)
    while true do s:find("%b()x") end
  end,
}
