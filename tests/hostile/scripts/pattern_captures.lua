-- error: more captures than there are, and back references to open ones
return {
  authorized = function()
    assert(not pcall(string.find, "a", ("(a"):rep(40)))
    assert(not pcall(string.find, "a", "(a%1)"))
    return ("a"):find(("("):rep(33) .. (")"):rep(33))
  end,
}
