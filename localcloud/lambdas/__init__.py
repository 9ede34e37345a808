"""Deployed Lambda packages, run in processes of their own by AWS's runtime client."""
