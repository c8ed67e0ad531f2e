"""What administrators see of the gateway itself."""
