"""What agents remember: finished exchanges of a user, recalled for the same user in other conversations."""
