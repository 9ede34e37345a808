"""The embedded cloud as the demo uses it (placeholder until lifecycle is read)."""
