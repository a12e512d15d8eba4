-- harmless: looks for everything that opens a file, a socket, a process or another's environment
return {
  authorized = function()
    local names = {
      "require", "loadstring", "load", "loadfile", "dofile", "getfenv", "setfenv", "newproxy", "collectgarbage",
      "gcinfo", "print", "warn", "debug", "os", "io", "package", "module", "ffi", "jit", "game", "script", "import",
    }
    for _, name in names do
      assert(rawget(_G, name) == nil and _G[name] == nil, name)
    end
    assert(string.dump == nil)
    assert(getmetatable(_G) == nil or type(getmetatable(_G)) ~= "table" or rawget(getmetatable(_G), "__index") == nil
      or getmetatable(_G).__index.os == nil)
  end,
}
