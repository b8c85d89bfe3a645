"""Generates the inputs of the real programs: the same bytes on every machine, from seeded generators of our own.

Each generator takes a size and yields text. make() writes its file into the work folder unless a younger one is there. The
shapes are those such programs meet: skewed lengths, many small things and a few large ones, names that repeat.
"""
import os
import random

WORDS = [a + b for a in ("ba", "co", "di", "fen", "gri", "ho", "lum", "mar", "nor", "pel", "quin", "ras")
         for b in ("a", "den", "ing", "ko", "les", "mir", "on", "pa", "stra", "ton", "ur", "vex")]


def sentence(rng, longest):
    """One to `longest` words, short ones more often than long ones."""
    return " ".join(rng.choices(WORDS, k=1 + int(rng.random() ** 3 * longest)))


def sql(size):
    """Two tables filled by single statements, an index, then joins, groups, windows, updates and deletes."""
    rng = random.Random(1)
    yield "create table person(id integer primary key, name text, city text, note text);\n"
    yield "create table trade(id integer primary key, person int, day int, amount real, what text);\nbegin;\n"
    for i in range(size):
        yield f"insert into person values({i}, '{sentence(rng, 4)}', '{rng.choice(WORDS)}', '{sentence(rng, 40)}');\n"
        for _ in range(3):
            yield (f"insert into trade(person, day, amount, what) values({rng.randrange(size)}, {rng.randrange(365)}, "
                   f"{rng.randrange(10**6) / 100}, '{sentence(rng, 10)}');\n")
    yield "commit;\ncreate index trade_person on trade(person);\ncreate index person_city on person(city, name);\n"
    yield "select city, count(*), sum(length(note)), group_concat(substr(name, 1, 3)) from person group by city;\n"
    yield ("select p.city, t.day, count(*), round(sum(t.amount), 2), max(upper(t.what)) from person p "
           "join trade t on t.person = p.id group by p.city, t.day / 30 order by 1, 2;\n")
    yield ("select day, name, rank() over (partition by day order by amount desc) from trade "
           "join person on person.id = trade.person where amount > 9900;\n")
    yield "select length(json_group_array(json_object('name', name, 'note', note))) from person;\n"
    yield "update person set note = note || '; ' || name where id % 3 = 0;\ndelete from trade where day % 7 = 2;\n"
    yield "select count(*), sum(length(note)) from person;\nselect count(*), round(sum(amount), 2) from trade;\n"


def c(size):
    """Functions over records of their own: loops, switches, calls and expressions for every pass of a compiler."""
    rng = random.Random(2)
    yield "typedef struct node { long key; struct node *next; char name[24]; } node;\nlong opaque(long);\n"
    for i in range(size):
        cases = "".join(f"        case {k}: sum += {rng.choice(('key', 'n', 'sum'))} * {rng.randrange(1000)} "
                        f"{rng.choice('+-^|')} opaque(sum >> {k}); break;\n" for k in range(3 + i % 7))
        yield (f"static const char *const title_{i} = \"{sentence(rng, 12)}\";\n"
               f"long fold_{i}(const node *list, long n) {{\n    long sum = {i}, table[{8 + i % 24}];\n"
               f"    for (int k = 0; k < {8 + i % 24}; k++) table[k] = k * n ^ title_{i}[k & 1];\n"
               f"    for (; list; list = list->next) {{\n        long key = list->key + list->name[n & 15];\n"
               f"        switch (key % {3 + i % 7}) {{\n{cases}        default: sum ^= table[key & 7];\n        }}\n    }}\n"
               f"    return sum{f' + fold_{rng.randrange(i)}(list, n - 1)' if i else ''};\n}}\n")


def cxx(size):
    """Templates of the standard library, each over types of its own, so that every one is instantiated anew."""
    rng = random.Random(3)
    yield "#include <algorithm>\n#include <functional>\n#include <map>\n#include <memory>\n#include <string>\n"
    yield "#include <unordered_map>\n#include <variant>\n#include <vector>\n"
    for i in range(size):
        yield (f"struct item_{i} {{ int key; std::string name; double weight[{i + 1}]; }};\n"
               f"template <class T> struct shelf_{i} {{ std::map<std::string, std::vector<T>> parts; "
               f"std::variant<T, std::string> value; }};\n"
               f"int walk_{i}(shelf_{i}<item_{i}> shelf, std::shared_ptr<item_{i}> one) {{\n"
               f"    std::unordered_map<std::string, item_{i}> index;\n"
               f"    std::function<int(int)> f = [=](int x) {{ return x * {rng.randrange(99)} + one->key; }};\n"
               f"    for (auto &[name, part] : shelf.parts) {{\n        std::sort(part.begin(), part.end(), "
               f"[&](const item_{i} &a, const item_{i} &b) {{ return f(a.key) < f(b.key); }});\n"
               f"        for (auto &p : part) index.emplace(p.name + name, p);\n    }}\n"
               f"    return f((int)index.size());\n}}\n")


def python(size):
    """Classes whose methods have loops, calls, comprehensions, strings and nested expressions."""
    rng = random.Random(9)
    for i in range(size):
        term = " + ".join(f"(n * {rng.randrange(99)} - {rng.choice(WORDS)}[{rng.randrange(9)}])" for _ in range(1 + i % 9))
        args = ", ".join(f"{w}={rng.randrange(99)}" for w in rng.sample(WORDS, 3))
        yield (f"class {rng.choice(WORDS).title()}{i}:\n    \"\"\"{sentence(rng, 30)}.\"\"\"\n"
               f"    def {rng.choice(WORDS)}(self, n, *rest, {args}, **more):\n"
               f"        for {rng.choice(WORDS)}, value in sorted(more.items(), key=lambda p: p[{i % 2}]):\n"
               f"            if n % {2 + i % 5} == 0 and not (value is None or rest[0] >= {i}):\n"
               f"                self.total += {term}\n"
               f"            else:\n                yield [f'{{x}} {sentence(rng, 5)}' for x in rest if x in {{{i}, n}}]\n"
               f"        return {{'{rng.choice(WORDS)}': self.{rng.choice(WORDS)}(n - 1, **more), **more}}\n\n\n")


def smt2(size):
    """Job shop scheduling over integers: jobs of five steps on five machines, each step after the one before it and no two
    steps at once on a machine, all done by a deadline; then uninterpreted functions with quantifiers over them.
    """
    rng = random.Random(4)
    machines = 5
    steps = [(j, m, rng.randrange(2, 20)) for j in range(size) for m in rng.sample(range(machines), machines)]
    length = {(j, m): d for j, m, d in steps}
    yield "(set-logic ALL)\n(declare-fun weight (Int) Int)\n(declare-fun link (Int Int) Int)\n"
    for j, m, _ in steps:
        yield f"(declare-const s_{j}_{m} Int)\n(assert (>= s_{j}_{m} 0))\n"
    for (j, m, d), (k, n, _) in zip(steps, steps[1:]):
        if j == k:
            yield f"(assert (>= s_{k}_{n} (+ s_{j}_{m} {d})))\n"
    for m in range(machines):
        for j in range(size):
            for k in range(j):
                yield (f"(assert (or (>= s_{j}_{m} (+ s_{k}_{m} {length[k, m]})) "
                       f"(>= s_{k}_{m} (+ s_{j}_{m} {length[j, m]}))))\n")
    deadline = max(sum(d for _, n, d in steps if n == m) for m in range(machines)) * 3 // 2
    for j, m, d in steps:
        yield f"(assert (<= (+ s_{j}_{m} {d}) {deadline}))\n(assert (= (weight s_{j}_{m}) (link {j} (* 2 {m}))))\n"
    yield "(assert (forall ((x Int) (y Int)) (! (>= (link x y) (+ x y)) :pattern ((link x y)))))\n"
    yield "(assert (forall ((x Int)) (! (<= (weight x) 1000) :pattern ((weight x)))))\n(check-sat)\n"


def json(size):
    """An array of nested records."""
    rng = random.Random(5)
    yield "["
    for i in range(size):
        tags = ", ".join(f'"{w}"' for w in rng.choices(WORDS, k=rng.randrange(8)))
        lines = ", ".join(f'{{"sku": "{rng.choice(WORDS)}-{rng.randrange(999)}", "count": {rng.randrange(20)}, '
                          f'"price": {rng.randrange(10**5) / 100}}}' for _ in range(rng.randrange(6)))
        yield (f'{"," if i else ""}\n{{"id": {i}, "name": "{sentence(rng, 5)}", "tags": [{tags}], '
               f'"city": "{rng.choice(WORDS)}", "note": "{sentence(rng, 30)}", "lines": [{lines}]}}')
    yield "\n]\n"


def xml(size):
    """Records with attributes and nested text."""
    rng = random.Random(6)
    yield "<?xml version=\"1.0\"?>\n<shop>\n"
    for i in range(size):
        yield f"<order id=\"{i}\" city=\"{rng.choice(WORDS)}\"><name>{sentence(rng, 5)}</name><note>{sentence(rng, 30)}</note>"
        for _ in range(rng.randrange(6)):
            sku = f"{rng.choice(WORDS)}-{rng.randrange(999)}"
            yield f"<line sku=\"{sku}\" count=\"{rng.randrange(20)}\">{sentence(rng, 8)}</line>"
        yield "</order>\n"
    yield "</shop>\n"


def text(size):
    """Lines as of a log: a time, an address, a path, a status, a length, words."""
    rng = random.Random(7)
    for i in range(size):
        yield (f"{i // 7:08d} 10.{rng.randrange(4)}.{rng.randrange(256)}.{int(rng.random() ** 2 * 256)} "
               f"/{rng.choice(WORDS)}/{rng.choice(WORDS)}?{rng.randrange(10**6):x} {rng.choice((200, 200, 200, 304, 404))} "
               f"{int(rng.random() ** 4 * 10**6)} {sentence(rng, 20)}\n")


def postscript(size):
    """Pages of text in several fonts, filled curves, and a program that makes dictionaries, arrays and strings."""
    rng = random.Random(8)
    yield "%!PS-Adobe-3.0\n/words 500 dict def\n/note { words exch dup length string copy dup length put } def\n"
    for page in range(size):
        yield f"/Times-Roman findfont {8 + page % 5} scalefont setfont\n"
        for line in range(40):
            yield f"40 {760 - 18 * line} moveto ({sentence(rng, 24)}) dup show ({sentence(rng, 3)}) note\n"
            yield f"{rng.random():.3f} {rng.random():.3f} {rng.random():.3f} setrgbcolor newpath\n"
            x, y = rng.randrange(500), rng.randrange(700)
            yield (f"{x} {y} moveto {x + 90} {y} {x} {y + rng.randrange(90)} {x + 40} {y + 60} curveto closepath "
                   f"{rng.choice(('fill', 'stroke', 'gsave clip 0 0 50 50 rectfill grestore'))} 0 setgray\n")
        yield "[ 0 1 400 { dup 10 string cvs exch 2 array astore } for ] length pop pop showpage\n"


def make(work, name, generate, size):
    """Writes the file `name` into work and returns its path."""
    path = os.path.join(work, name)
    if not os.path.exists(path) or os.path.getmtime(path) < os.path.getmtime(__file__):
        with open(path + ".new", "w", encoding="ascii") as f:
            f.writelines(generate(size))
        os.replace(path + ".new", path)
    return path
