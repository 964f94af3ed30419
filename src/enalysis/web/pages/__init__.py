"""Pages drawn on the server: each module is one place in the navigation."""
