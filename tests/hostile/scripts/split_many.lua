-- memory or error or timeout: a megabyte into single characters
return {
  authorized = function()
    local kept = {}
    while true do kept[#kept + 1] = ("ab"):rep(5e5):split("b") end
  end,
}
