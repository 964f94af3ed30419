"""The commands: one file each, over the same actions and queries as the pages and the API."""
