-- memory or timeout: tables in a table
return {
  authorized = function()
    local t = {}
    for i = 1, 1e9 do t[i] = {} end
  end,
}
