-- timeout: the same in a replacement
return { authorized = function() return (("a"):rep(3000):gsub(".-.-.-.-b", "")) end }
