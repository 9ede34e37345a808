"""Use-cases: load, decide, write. One file each."""
