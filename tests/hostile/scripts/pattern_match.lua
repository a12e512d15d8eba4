-- timeout: greedy repetitions that must all be undone
return { authorized = function() return ("a"):rep(3000):match("a*a*a*a*a*b") end }
