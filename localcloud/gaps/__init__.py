"""What moto records wrongly, bridged: one file for each gap, each with an `install(front, ...)`."""
