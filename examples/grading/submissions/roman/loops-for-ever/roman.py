"""Takes letters off the front while there are any; a letter that it does not know stays."""

import sys

VALUES = [
    ("CM", 900),
    ("CD", 400),
    ("XC", 90),
    ("XL", 40),
    ("IX", 9),
    ("IV", 4),
    ("M", 1000),
    ("D", 500),
    ("C", 100),
    ("L", 50),
    ("X", 10),
    ("V", 5),
    ("I", 1),
]
for line in sys.stdin:
    text, total = line.strip(), 0
    while text or not total:
        for letters, value in VALUES:
            if text.startswith(letters):
                text, total = text[len(letters) :], total + value
                break
    print(total)
