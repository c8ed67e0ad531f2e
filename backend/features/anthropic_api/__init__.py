"""The messages API, as Ollama serves it for Claude Code."""
