"""The API under /api/v1: W, Wh, None as null, times in ISO 8601 UTC."""
