-- error: methods of the request on what is none
return {
  authorized = function(req, ctx)
    local header = req.header
    assert(not pcall(header))
    assert(not pcall(header, {}, "To"))
    assert(not pcall(header, ctx, "To"))
    assert(not pcall(header, ims.silent(), "To"))
    assert(not pcall(header, req, {}))
    return header("To", req)
  end,
}
