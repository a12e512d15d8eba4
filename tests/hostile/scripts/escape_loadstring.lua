-- error: code out of a string
return { authorized = function() return loadstring("return 1")() end }
