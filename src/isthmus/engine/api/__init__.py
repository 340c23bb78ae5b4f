"""The engine's HTTP API: for people's tools by token, for other engines by signature."""
