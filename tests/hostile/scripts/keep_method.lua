-- error: a method of the request of the call before
local kept, header
return {
  authorized = function(req)
    if kept then return header(kept, "To") end
    kept, header = req, req.header
  end,
}
