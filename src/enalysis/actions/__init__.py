"""What Enalysis does: several steps under one name, each a transaction or a series of them."""
