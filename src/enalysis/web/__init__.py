"""Pages and API: what a browser and a program see of queries and actions."""
