"""Infrastructure of a stage: its stacks, what bootstrap writes, and the Lambda package."""
