"""Pure decisions: everything comes in as arguments, everything goes out as values. No clock, no chance, no AWS, no logging."""
