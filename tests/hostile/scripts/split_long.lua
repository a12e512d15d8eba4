-- timeout or error: a separator of half a megabyte
return {
  authorized = function()
    return #(("a"):rep(1e6):split(("a"):rep(5e5) .. "b"))
  end,
}
