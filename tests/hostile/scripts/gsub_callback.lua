-- timeout: the replacement function never returns
return { authorized = function() return (("abc"):gsub(".", function() while true do end end)) end }
