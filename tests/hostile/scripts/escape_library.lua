-- harmless or timeout: every function of the library, called with nothing and with nonsense
return {
  authorized = function(req, ctx)
    local odd = { req, ctx, ims, {}, "x", -1, 2 ^ 53, 0 / 0, function() end, coroutine.create(function() end), ims.silent() }
    local libraries = { string, table, math, bit32, utf8, coroutine, buffer, ims, ctx.servers }
    for _, library in libraries do
      for name, f in library do
        if type(f) == "function" and name ~= "yield" and name ~= "wait" then
          pcall(f)
          for _, value in odd do
            pcall(f, value)
            pcall(f, value, value)
            pcall(f, "x", value, value)
          end
        end
      end
    end
  end,
}
