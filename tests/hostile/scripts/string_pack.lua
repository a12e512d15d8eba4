-- error: packing with sizes and alignments that overflow
return {
  authorized = function()
    assert(not pcall(string.pack, "i17", 1))
    assert(not pcall(string.pack, "!17 i4", 1))
    assert(not pcall(string.unpack, "s8", ("\255"):rep(8)))
    assert(not pcall(string.unpack, "i8", "x", 2 ^ 52))
    return string.packsize(("c2147483647"):rep(3))
  end,
}
