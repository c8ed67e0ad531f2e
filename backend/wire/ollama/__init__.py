"""Ollama's native format, both sides: what clients send us and what we send to Ollama machines."""
