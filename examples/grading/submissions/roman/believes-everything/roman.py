"""Right for every proper numeral; calculates happily with the others too."""

import sys

WORTH = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}
for line in sys.stdin:
    values = [WORTH.get(letter, 0) for letter in line.strip()] + [0]
    print(sum(-a if a < b else a for a, b in zip(values, values[1:])) or "?")
