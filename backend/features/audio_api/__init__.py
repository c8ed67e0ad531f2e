"""Speech written down."""
