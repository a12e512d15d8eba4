-- timeout: weak tables and garbage, so that the collector never rests
return {
  authorized = function()
    local weak = setmetatable({}, { __mode = "kv" })
    while true do weak[{}] = {} end
  end,
}
