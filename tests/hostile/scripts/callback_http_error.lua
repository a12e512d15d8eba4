-- error: a callback of a request that fails
local function call() http.get("http://127.0.0.1:9/", function(answer) error(answer) end) end
return { setup = function() timer.every(0.01, call) end }
