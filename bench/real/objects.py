#!/usr/bin/env python3
"""What Python programs do with many small objects, one part a run: json, ast, html or pickle. Run it with
PYTHONMALLOC=malloc, which sends all of the interpreter's blocks to malloc. Prints a checksum of the results.

Usage: objects.py PART FILE     json and html read a document of that kind, ast a Python source, pickle a JSON one
"""
import ast
import hashlib
import html.parser
import json
import pickle
import sys


class Line:
    def __init__(self, sku, count, price):
        self.sku, self.count, self.price = sku, count, price


class Order:
    def __init__(self, record):
        self.name, self.tags = record["name"], set(record["tags"])
        self.lines = [Line(**line) for line in record["lines"]]
        self.where = (record["city"], record["id"])


class Tags(html.parser.HTMLParser):
    """Collects what a page holds: attributes and text by tag."""

    def __init__(self):
        super().__init__()
        self.path, self.found = [], {}

    def handle_starttag(self, tag, attrs):
        self.path.append(tag)
        self.found.setdefault("/".join(self.path), []).append(dict(attrs))

    def handle_endtag(self, tag):
        self.path.pop()

    def handle_data(self, data):
        self.found.setdefault("text " + "/".join(self.path), []).append(data.split())


def part_json(text):
    records = json.loads(text)
    for record in records:
        record["total"] = sum(line["count"] * line["price"] for line in record["lines"])
    return json.dumps(sorted(records, key=lambda r: r["total"]), indent=1)


def part_ast(text):
    tree = ast.parse(text)
    names = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
    compile(tree, "generated", "exec")
    return ast.unparse(tree) + " ".join(sorted(names))


def part_html(text):
    page = Tags()
    page.feed(text)
    return " ".join(f"{path} {len(found)} {sum(map(len, found))}" for path, found in sorted(page.found.items()))


def part_pickle(text):
    orders = [Order(record) for record in json.loads(text)]
    again = pickle.loads(pickle.dumps(orders))
    return " ".join(f"{o.name} {sorted(o.tags)} {sum(line.price for line in o.lines)} {o.where}" for o in again)


def main():
    part, path = sys.argv[1:]
    with open(path, encoding="ascii") as f:
        text = f.read()
    result = {"json": part_json, "ast": part_ast, "html": part_html, "pickle": part_pickle}[part](text)
    print(part, hashlib.sha256(result.encode()).hexdigest())


if __name__ == "__main__":
    main()
