"""EC2 instances that really run: machines as process trees, their metadata service, Run Command."""
