-- error: leaves a global behind for the next request
return {
  authorized = function(req)
    if leaked then return ims.reject(403, leaked) end
    leaked = req.impi
  end,
}
