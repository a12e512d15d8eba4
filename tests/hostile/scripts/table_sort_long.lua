-- error or memory or timeout: a few hundred thousand numbers in one call
return {
  authorized = function()
    local t = table.create(400000, 0)
    table.sort(t)
    for i = 1, 1e9 do table.sort(t) end
  end,
}
