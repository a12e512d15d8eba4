-- timeout or error or memory: hashes and encodings of megabytes
return {
  authorized = function()
    local s = ("x"):rep(60000):rep(10)
    local kept = {}
    while true do
      for _, f in { hmac and hmac.sha256, base64 and base64.encode, base64 and base64.decode, hex and hex.encode, hex and hex.decode } do
        local ok, made = pcall(f, s, s)
        if ok then kept[#kept + 1] = made end
      end
    end
  end,
}
