"""Prints a gigabyte."""

import os

LINE = (b"all work and no play makes jack a dull boy\n" * 24385)[: 1 << 20]
for _ in range(1024):
    written = 0
    while written < len(LINE):
        written += os.write(1, LINE[written:])
