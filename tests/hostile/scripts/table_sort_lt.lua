-- timeout: __lt is the loop
return {
  authorized = function()
    local meta = { __lt = function() while true do end end }
    table.sort({ setmetatable({}, meta), setmetatable({}, meta) })
  end,
}
