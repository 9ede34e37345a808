"""What invokes functions: SQS mappings, schedules, EventBridge rules, SNS subscriptions."""
