"""Least privilege, proven: every call that a function makes to AWS, compared with what its role allows."""
