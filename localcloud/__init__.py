"""The embedded cloud: an AWS account in one process on 127.0.0.1, which runs what was deployed to it."""
