"""A vendor's answer becomes readings: one file per vendor, all of one shape."""
