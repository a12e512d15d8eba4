-- error: texts and lists beyond every bound
return {
  authorized = function()
    assert(not pcall(ims.skip, ("x"):rep(60000):rep(16)))
    assert(not pcall(ims.notify, { to = table.create(300000, "x"), by = "message" }))
    return ims.reject(403, ("x"):rep(129))
  end,
}
