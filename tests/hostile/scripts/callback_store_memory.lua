-- memory or timeout: a callback of a write that takes all memory
local function write()
  store.set("k", 1, function()
    local all = {}
    while true do all[#all + 1] = ("x"):rep(60000) .. #all end
  end)
end
return { setup = function() timer.every(0.01, write) end }
