-- timeout: reads the request without end
return {
  authorized = function(req)
    while true do
      local _ = req.impi .. req.uri .. (req:header("Contact") or "")
    end
  end,
}
