-- timeout: a loop without an end
return { authorized = function() while true do end end }
