"""Mistral's API: chat completions with closed bodies, strict message order and habits of its own."""
