-- memory or error or timeout: a gigabyte out of one string
return {
  authorized = function()
    return #table.concat(table.create(1000, ("x"):rep(60000):rep(16)))
  end,
}
