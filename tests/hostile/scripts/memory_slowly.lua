-- memory: half a megabyte more at every call
local kept = {}
return { authorized = function() kept[#kept + 1] = buffer.create(5e5) end }
