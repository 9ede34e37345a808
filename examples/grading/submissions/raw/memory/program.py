"""Takes memory as long as it is let. Nobody stands between it and Spillway's own limit."""

taken = []
while len(taken) < 4096:
    taken.append(bytearray(b"x") * (1 << 20))
