-- error or timeout: long strings that differ in the last octet
return {
  authorized = function()
    local t, long = {}, ("x"):rep(60000)
    for i = 1, 100 do t[i] = long .. i end
    while true do
      table.sort(t, function(a, b) return a > b end)
      table.sort(t)
    end
  end,
}
