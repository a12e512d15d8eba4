-- timeout or memory: verdicts without end, kept over the calls
local kept = {}
return {
  authorized = function()
    local names = table.create(16, ("x"):rep(128))
    while true do kept[#kept + 1] = ims.notify { to = names, by = "message" } end
  end,
}
