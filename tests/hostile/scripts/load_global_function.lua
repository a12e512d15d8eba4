-- error: writes a library function as a global before the lock closes, and calls it
tostring = function() while true do end end
type = nil
return { authorized = function() return type(1) end }
