-- harmless or error or timeout: callbacks that write large values without an end
local n = 0
local function write()
  for _ = 1, 20 do
    n = n + 1
    store.set("k" .. n % 500, ("x"):rep(60000))
  end
  store.set("last", n, write)
end
return { setup = function() store.set("last", n, write) end }
