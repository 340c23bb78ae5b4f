"""The command line: cliff commands, one module per noun. It shows and asks; it decides nothing."""
