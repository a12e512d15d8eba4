-- harmless or timeout or memory or error: the same megabytes thousands of times in one line, which is memory outside of the VM
return {
  authorized = function()
    local s = ("x"):rep(3000000)
    log.info(table.unpack(table.create(7000, s)))
  end,
}
