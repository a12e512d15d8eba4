-- memory or timeout: a callback of a request that takes all memory
local function call()
  http.get("http://127.0.0.1:9/", function()
    local all = {}
    while true do all[#all + 1] = ("x"):rep(60000) .. #all end
  end)
end
return { setup = function() timer.every(0.01, call) end }
