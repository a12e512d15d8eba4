-- error: text that is none, and code points that are none
return {
  authorized = function()
    assert(utf8.len("\xFF") == nil)
    assert(not pcall(utf8.char, 0x7FFFFFFF + 1))
    assert(not pcall(utf8.codepoint, "\xF8", 1, 1))
    for _ in utf8.codes("\xF8\x88\x80\x80\x80") do end
  end,
}
