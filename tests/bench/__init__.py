"""Benchmarks: what Enalysis does, timed in turn with the plainest way there is to do the same."""
