-- timeout: verdicts without end, thrown away
return {
  authorized = function()
    local names = table.create(16, ("x"):rep(128))
    while true do ims.notify { to = names, by = "message" } end
  end,
}
