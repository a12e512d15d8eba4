-- memory or timeout: functions with values of their own, kept
local kept = {}
return {
  authorized = function()
    while true do
      local n = #kept
      kept[n + 1] = function() return n end
    end
  end,
}
