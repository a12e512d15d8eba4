-- error or harmless: a comparator that contradicts itself
return {
  authorized = function()
    local t = {}
    for i = 1, 1000 do t[i] = i end
    table.sort(t, function() return true end)
  end,
}
