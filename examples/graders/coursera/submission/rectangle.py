def area(a, b):
    return a * b


def circumference(a, b):
    return a + b
