"""Passerelle: a gateway that looks like an Ollama server."""

__version__ = "0.1.0"
