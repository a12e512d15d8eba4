-- memory or timeout: answers with long bodies, made in a loop and kept: memory outside of the VM
local kept = {}
return {
  authorized = function()
    local body = ("x"):rep(16000)
    while true do kept[#kept + 1] = ims.answer { status = 200, body = body } end
  end,
}
