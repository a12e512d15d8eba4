-- harmless or timeout: requests that are sent again by their own callbacks, without an end
local function call()
  http.get("http://127.0.0.1:9/", call)
  local from = time.monotonic()
  while time.monotonic() - from < 0.004 do end
end
return { setup = function() for _ = 1, 60 do http.get("http://127.0.0.1:9/", call) end end }
