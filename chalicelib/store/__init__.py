"""Rows in DynamoDB. Knows tables and conditions, no policy. Every write names the state that it leaves."""
