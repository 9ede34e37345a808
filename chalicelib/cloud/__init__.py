"""AWS without policy: EC2, SSM, SQS, SNS, S3, user data. Calls are counted; errors become our own few kinds."""
