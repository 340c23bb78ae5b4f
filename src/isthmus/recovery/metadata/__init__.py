"""What a server was, completely enough to make it again elsewhere."""
