-- error: tables in tables in tables as arguments of constructors
return {
  authorized = function()
    local deep = {}
    for _ = 1, 1000 do deep = { deep, to = deep, headers = deep, parts = deep } end
    for _, make in { ims.forward, ims.notify, ims.answer, ims.challenge, ims.retry, ims.route, ims.verify } do
      assert(not pcall(make, deep))
      assert(not pcall(make, { to = deep, headers = deep, algorithms = { deep }, parts = { deep } }))
      assert(not pcall(make, deep, deep, deep))
    end
    return ims.reject(deep, deep, deep)
  end,
}
