"""A regular expression says what is proper; the sum is then easy."""

import re
import sys

PROPER = re.compile(r"(?=.)M{0,3}(CM|CD|D?C{0,3})(XC|XL|L?X{0,3})(IX|IV|V?I{0,3})")
WORTH = dict(zip("IVXLCDM", (1, 5, 10, 50, 100, 500, 1000)))
for line in sys.stdin:
    text = line.strip()
    if not PROPER.fullmatch(text):
        print("?")
        continue
    values = [WORTH[letter] for letter in text] + [0]
    print(sum(-a if a < b else a for a, b in zip(values, values[1:])))
