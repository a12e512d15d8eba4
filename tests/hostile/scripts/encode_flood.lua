-- timeout or error or memory: hashes and encodings of megabytes
return {
  authorized = function()
    local s, kept = ("x"):rep(600000), {}
    while true do
      for _, f in { hmac.sha256, hash.sha256, base64.encode, base64.decode, hex.encode, hex.decode, json.encode } do
        local ok, made = pcall(f, s, s)
        if ok then kept[#kept + 1] = made end
      end
    end
  end,
}
