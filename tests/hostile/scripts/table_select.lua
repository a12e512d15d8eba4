-- timeout: a long argument list, walked from each of its ends
return {
  authorized = function()
    local function walk(...)
      while true do
        for i = 1, select("#", ...) do select(-i, ...) end
      end
    end
    walk(table.unpack(table.create(7000, 0)))
  end,
}
