-- timeout: a callback of a request that loops without an end
local function call() http.get("http://127.0.0.1:9/", function() while true do end end) end
return { setup = function() timer.every(0.01, call) end }
