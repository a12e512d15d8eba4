-- error: a table, and a table in a table, as the error
return {
  authorized = function()
    local t = {}
    t.t = t
    error(t)
  end,
}
