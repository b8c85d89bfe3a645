-- Tables, strings and closures in Lua, which asks malloc for each of them: binary trees made and dropped, strings joined
-- and split, a hash table under churn. Its numbers come from a generator of its own. Prints sums of the results.
-- Usage: lua trees.lua ROUNDS

local state = 42
local function random(n) -- 0 .. n-1; a linear congruence modulo 2^31 as in ISO C's example of rand
    state = (state * 1103515245 + 12345) % 2147483648
    return (state >> 8) % n
end

local function tree(depth)
    if depth == 0 then return {} end
    return { tree(depth - 1), tree(depth - 1) }
end

local function count(node)
    return node[1] and 1 + count(node[1]) + count(node[2]) or 1
end

local function words(n)
    local list = {}
    for i = 1, n do list[i] = string.rep(string.char(97 + random(26)), 1 + random(40)) .. i end
    return list
end

local kept = tree(14)
local nodes, letters, alive = 0, 0, 0
local index = {}
for round = 1, tonumber(arg[1]) do
    for _ = 1, 8 do nodes = nodes + count(tree(10)) end
    local text = table.concat(words(3000), " ")
    for word in text:gmatch("%S+") do letters = letters + #word:upper() end
    for _ = 1, 4000 do
        local key = random(6000)
        index[key] = not index[key] and { name = "key " .. key, at = round, get = function() return key end } or nil
    end
end
for key, entry in pairs(index) do
    assert(entry.get() == key and entry.name == "key " .. key)
    alive = alive + 1
end
assert(count(kept) == 2 ^ 15 - 1)
print(nodes, letters, alive)
