-- timeout: a table that grows while it is walked
return {
  authorized = function()
    local t = { true }
    local i = 1
    while next(t) do
      i = i % 100 + 1
      t[i] = true
    end
  end,
}
