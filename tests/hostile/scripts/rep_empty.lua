-- verdict or timeout or error: nothing, 10^12 times
return { authorized = function() return (""):rep(1e12) end }
