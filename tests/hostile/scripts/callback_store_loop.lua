-- timeout: a callback of a write that loops without an end
local function write() store.set("k", 1, function() while true do end end) end
return { setup = function() timer.every(0.01, write) end }
