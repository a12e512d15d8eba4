-- error: more requests than may be under way
local function call() for _ = 1, 100 do http.get("http://127.0.0.1:9/", function() end) end end
return { setup = function() timer.every(0.01, call) end }
