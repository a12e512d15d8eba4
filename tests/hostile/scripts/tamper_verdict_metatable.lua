-- error: reaches for the metatable of all verdicts
return { authorized = function() getmetatable(ims.skip("x")).__tostring = nil end }
