-- error: the context of the call before
local kept
return {
  authorized = function(req, ctx)
    if kept then return kept.now end
    kept = ctx
  end,
}
