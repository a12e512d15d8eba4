-- memory or timeout: strings that differ, kept
local kept = {}
return {
  authorized = function()
    while true do kept[#kept + 1] = ("x"):rep(10000) .. #kept end
  end,
}
