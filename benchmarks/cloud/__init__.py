"""A lean AWS for benchmarks: a server of its own, fast enough not to set the pace, that counts what it is asked.

It speaks just what the functions ask of DynamoDB, S3, SQS, EventBridge, Secrets Manager and KMS, and refuses anything
else. The ledger lies in SQLite, so that its keys and indexes are real B-trees. It checks no permissions.
"""
