-- timeout: the same in an iterator
return {
  authorized = function()
    for _ in ("a"):rep(3000):gmatch(".-.-.-.-b") do end
  end,
}
