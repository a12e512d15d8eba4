-- error: replaces a function of the string library
return { authorized = function() string.find = function() return 1 end end }
