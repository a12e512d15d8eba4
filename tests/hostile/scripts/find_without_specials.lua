-- timeout or error: a pattern that has no special character is looked for plainly as well
return {
  authorized = function()
    return ("a"):rep(1e6):find(("a"):rep(5e5) .. "b")
  end,
}
