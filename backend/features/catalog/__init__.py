"""Which models there are, where they can run, and which ran lately."""
