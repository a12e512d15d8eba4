-- harmless: a fixed seed for everyone
return { authorized = function() math.randomseed(1) end }
