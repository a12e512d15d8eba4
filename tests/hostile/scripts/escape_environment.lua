-- error: the environment of its caller
return { authorized = function() return getfenv(2) end }
