"""A fuzzer's corpus as one file of the tree, an input a line in hexadecimal, and as the folder of files that libFuzzer
wants. Usage: corpus.py pack FOLDER FILE | corpus.py unpack FILE FOLDER
"""

import hashlib
import pathlib
import sys

LINES_MAX = 250
BYTES_MAX = 400


def pack(folder, file):
    """The shortest inputs first, up to the bounds: what is long can be found again."""
    inputs = {p.read_bytes() for p in pathlib.Path(folder).iterdir()}
    short = sorted((i for i in inputs if 0 < len(i) <= BYTES_MAX), key=lambda i: (len(i), i))
    pathlib.Path(file).write_text("".join(i.hex() + "\n" for i in short[:LINES_MAX]), encoding="ascii")
    print(f"{file}: {min(len(short), LINES_MAX)} of {len(inputs)} inputs")


def unpack(file, folder):
    pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
    for line in pathlib.Path(file).read_text(encoding="ascii").split():
        data = bytes.fromhex(line)
        (pathlib.Path(folder) / hashlib.sha1(data).hexdigest()).write_bytes(data)


if __name__ == "__main__":
    {"pack": pack, "unpack": unpack}[sys.argv[1]](*sys.argv[2:])
