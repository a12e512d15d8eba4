-- timeout: megabytes filled and copied
return {
  authorized = function()
    local one, two = buffer.create(1e6), buffer.create(1e6)
    while true do
      buffer.fill(one, 0, 7)
      buffer.copy(two, 0, one)
      buffer.tostring(one)
    end
  end,
}
