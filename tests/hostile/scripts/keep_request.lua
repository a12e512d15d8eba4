-- error: the request of the call before
local kept
return {
  authorized = function(req)
    if kept then return kept.impi end
    kept = req
  end,
}
