-- error or harmless or timeout or memory: thousands of fields of megabytes behind one line
return {
  authorized = function()
    local s, fields = ("x"):rep(1000000), {}
    for n = 1, 5000 do fields["f" .. n] = s end
    log.info("fields", fields)
  end,
}
