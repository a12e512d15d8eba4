-- refused: the file itself fills the memory
local kept = {}
while true do kept[#kept + 1] = ("x"):rep(10000) .. #kept end
