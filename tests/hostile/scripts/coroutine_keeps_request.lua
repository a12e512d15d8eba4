-- error: a coroutine that is suspended with the request and resumed in the next call
local co
return {
  authorized = function(req)
    if not co then
      co = coroutine.wrap(function(first)
        coroutine.yield()
        return first.impi
      end)
      return co(req)
    end
    return co()
  end,
}
