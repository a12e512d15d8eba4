-- timeout or memory: error objects of the host's functions, kept over the calls: each holds text outside of the VM
local kept = {}
return {
  authorized = function(req)
    while true do
      local _, why = pcall(req.set_header, req, "X", "y")
      kept[#kept + 1] = why
    end
  end,
}
