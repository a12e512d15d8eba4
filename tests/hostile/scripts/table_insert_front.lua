-- timeout or error: every entry is moved for every other
return {
  authorized = function()
    local t = table.create(60000, 0)
    while true do
      table.insert(t, 1, 0)
      table.remove(t, 1)
    end
  end,
}
