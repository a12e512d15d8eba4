-- memory or timeout: buffers of a megabyte, kept
return {
  authorized = function()
    local kept = {}
    while true do kept[#kept + 1] = buffer.create(1e6) end
  end,
}
