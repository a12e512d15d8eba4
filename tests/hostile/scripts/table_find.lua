-- timeout or error: looks through a large table without end
return {
  authorized = function()
    local t = table.create(300000, 0)
    while true do table.find(t, 1) end
  end,
}
