-- memory or timeout or error: copies of a large table, kept
return {
  authorized = function()
    local t, kept = table.create(60000, 0), {}
    while true do kept[#kept + 1] = table.clone(t) end
  end,
}
