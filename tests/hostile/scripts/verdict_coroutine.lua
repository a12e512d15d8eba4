-- verdict: a coroutine
return { authorized = function() return coroutine.create(function() return ims.accept() end) end }
