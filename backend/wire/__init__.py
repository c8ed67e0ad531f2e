"""Wire formats, pure and without I/O: `inbound` is our side of a format, `upstream` the side we call."""
