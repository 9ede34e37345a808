"""Scaling policies: pure functions from a view of a pool to how many hosts are wanted, and why (DESIGN §5)."""
