"""Ollama's native routes."""
