-- timeout: a loop of 10^15 rounds
return { authorized = function() for i = 1, 1e15 do end end }
