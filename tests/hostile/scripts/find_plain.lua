-- timeout or error: half a megabyte looked for in a megabyte, plainly
return {
  authorized = function()
    local hay = ("a"):rep(1e6)
    local needle = ("a"):rep(5e5) .. "b"
    return hay:find(needle, 1, true)
  end,
}
