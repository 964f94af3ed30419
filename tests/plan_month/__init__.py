"""A simulated month of collecting: the planner and the real reservation against a vendor that counts by itself."""
