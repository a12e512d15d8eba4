-- memory or error: a text of a gigabyte
return { authorized = function() return ("x"):rep(1e9) end }
