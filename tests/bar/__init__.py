"""The reliability bar: each requirement as a function that measures it and returns one row."""
