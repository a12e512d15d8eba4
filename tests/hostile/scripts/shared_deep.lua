-- error: a table as deep as the memory allows, and one that holds itself, as shared values and as JSON
return {
  authorized = function()
    local deep, ring = {}, {}
    for _ = 1, 1000 do deep = { deep } end
    ring[1] = ring
    assert(not pcall(json.encode, deep))
    assert(not pcall(json.encode, ring))
    assert(not pcall(json.decode, ("["):rep(60000)))
    assert(not pcall(shared.set, "ring", ring))
    shared.set("deep", deep)
  end,
}
