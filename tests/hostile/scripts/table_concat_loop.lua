-- timeout or memory or error: megabytes joined and thrown away
return {
  authorized = function()
    local parts = table.create(16, ("x"):rep(60000))
    while true do table.concat(parts) end
  end,
}
