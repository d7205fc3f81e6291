"""A process that writes a log as it is told on its standard input, holding files open as an application does.

One command a line: `open NAME PATH MODE` (a or w), `write NAME HEX`, `seek NAME OFFSET`, `close NAME`. It answers each
with `ok`.
"""

import os
import sys

FLAGS = {"a": os.O_APPEND, "w": 0, "t": os.O_TRUNC}


def main() -> None:
    files: dict[str, int] = {}
    for line in sys.stdin:
        verb, name, *rest = line.split()
        if verb == "open":
            files[name] = os.open(rest[0], os.O_WRONLY | os.O_CREAT | FLAGS[rest[1]], 0o644)
        elif verb == "write":
            os.write(files[name], bytes.fromhex(rest[0]))
        elif verb == "close":
            os.close(files.pop(name))
        sys.stdout.write("ok\n")
        sys.stdout.flush()


main()
