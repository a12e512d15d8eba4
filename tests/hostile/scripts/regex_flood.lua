-- error or timeout or memory: another pattern for every request, all of them kept
local kept = {}
return {
  authorized = function()
    while true do kept[#kept + 1] = re.compile("[a-z]{1,50}[0-9]{1,50}" .. #kept) end
  end,
}
