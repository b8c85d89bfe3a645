#!/usr/bin/env python3
"""nginx under BENCH_PRELOAD, loaded by ab without it: pages put together from three files by server-side includes and
compressed on the way out, so that each request makes pools, buffers and the state of zlib, and frees them at its end.

One process serves. Checked: as many answers as asked for, none failed, each with status 200; and one page, decompressed, is
what the files say.

Usage: nginx_load.py REQUESTS
"""
import gzip
import http.client
import os
import re
import sys

from server import Server, free_port, preload

CLIENTS = 8
PART = "".join(f"<li>item {i} of a list, {i * i}</li>\n" for i in range(60))
PAGE = "<html>{}<ul>{}</ul></html>\n"
CONFIG = """
daemon off; master_process off; pid {folder}/pid; error_log stderr; worker_rlimit_nofile 1024;
events {{ worker_connections 256; }}
http {{
    access_log off; server_tokens off; keepalive_requests 1000000; default_type text/html;
    client_body_temp_path {folder}/t; proxy_temp_path {folder}/t; fastcgi_temp_path {folder}/t;
    uwsgi_temp_path {folder}/t; scgi_temp_path {folder}/t;
    gzip on; gzip_comp_level 1; gzip_min_length 1; ssi on;
    server {{ listen 127.0.0.1:{port}; root {folder}; }}
}}
"""


def argv(folder, port):
    page = PAGE.format('<!--#include virtual="/title.html" -->', '<!--#include virtual="/list.html" -->')
    files = {"config": CONFIG.format(folder=folder, port=port), "list.html": PART, "title.html": "A title", "page.html": page}
    for name, text in files.items():
        with open(os.path.join(folder, name), "w", encoding="ascii") as f:
            f.write(text)
    os.chmod(folder, 0o755)
    return ["nginx", "-e", "stderr", "-p", folder, "-c", os.path.join(folder, "config")]


def fetch(port):
    """The page as a client gets it, decompressed; OSError if nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", "/page.html", headers={"Accept-Encoding": "gzip"})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    if answer.status != 200 or answer.headers["Content-Encoding"] != "gzip":
        sys.exit(f"status {answer.status}, encoding {answer.headers['Content-Encoding']}")
    return gzip.decompress(body).decode()


def field(name, text):
    found = re.search(rf"^{name}:\s+(\d+)", text, re.M)
    return int(found[1]) if found else 0


def main():
    requests, port = int(sys.argv[1]), free_port()
    with Server(lambda folder: argv(folder, port), preload(), lambda _: fetch(port)) as server:
        text, seconds = server.client(["ab", "-q", "-k", "-c", str(CLIENTS), "-n", str(requests), "-H", "Accept-Encoding: gzip",
                                       f"http://127.0.0.1:{port}/page.html"])
        figures = server.figures(seconds)
        bad = [name for name in ("Failed requests", "Non-2xx responses", "Write errors") if field(name, text)]
        if bad or field("Complete requests", text) != requests:
            sys.exit(f"{bad}:\n{text}")
        if fetch(port) != PAGE.format("A title", PART):
            sys.exit("the page is not what its files say")
    print(figures)


if __name__ == "__main__":
    main()
