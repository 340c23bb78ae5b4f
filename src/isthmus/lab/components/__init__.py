"""What runs in a site. One module per kind of component; each can be started, tested and stopped by itself."""
