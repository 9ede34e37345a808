"""Greedy: builds the one proper spelling of what it has read and compares."""

import sys

VALUES = [
    (1000, "M"),
    (900, "CM"),
    (500, "D"),
    (400, "CD"),
    (100, "C"),
    (90, "XC"),
    (50, "L"),
    (40, "XL"),
    (10, "X"),
    (9, "IX"),
    (5, "V"),
    (4, "IV"),
    (1, "I"),
]


def spell(number):
    text = ""
    for value, letters in VALUES:
        text += letters * (number // value)
        number %= value
    return text


SPELLINGS = {spell(n): n for n in range(1, 4000)}
for line in sys.stdin:
    print(SPELLINGS.get(line.strip(), "?"))
