-- memory or timeout or error: each round doubles the text
return {
  authorized = function()
    local s = "aa"
    while true do s = s:gsub("a", "aa") end
  end,
}
