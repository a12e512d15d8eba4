-- timeout or memory: fills the VM's table of strings
local kept = {}
return {
  authorized = function()
    local n = 0
    while true do
      n = n + 1
      kept[n] = "key " .. n
    end
  end,
}
