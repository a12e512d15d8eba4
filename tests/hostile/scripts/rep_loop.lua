-- timeout or error: megabytes, and thrown away
return { authorized = function() while true do pcall(string.rep, "x", 1e6) end end }
