"""Falls over the first letter that it does not know, and over empty lines."""

import sys

WORTH = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}
for line in sys.stdin:
    values = [WORTH[letter] for letter in line.strip()]
    total = values[-1]
    for a, b in zip(values, values[1:]):
        total += -a if a < b else a
    print(total)
