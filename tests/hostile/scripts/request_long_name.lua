-- timeout or error: header names of megabytes
return {
  authorized = function(req)
    local name = ("x"):rep(60000):rep(16)
    while true do req:header(name) end
  end,
}
