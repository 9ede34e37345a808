import sys

WORTH = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}
for line in sys.stdin:
    print(sum(WORTH.get(letter, 0) for letter in line.strip()) or "?")
