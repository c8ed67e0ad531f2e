"""The canonical vocabulary: what every wire format is read into and every provider answers with."""
