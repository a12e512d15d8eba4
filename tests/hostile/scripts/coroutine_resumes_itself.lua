-- harmless: a coroutine that resumes or closes itself
return {
  authorized = function()
    local co
    co = coroutine.create(function()
      assert(not coroutine.resume(co))
      assert(not pcall(coroutine.close, co))
      assert(not pcall(coroutine.close, coroutine.running()))
    end)
    assert(coroutine.resume(co))
  end,
}
