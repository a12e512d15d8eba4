-- memory or error: s .. s
return {
  authorized = function()
    local s = "x"
    while true do s = s .. s end
  end,
}
