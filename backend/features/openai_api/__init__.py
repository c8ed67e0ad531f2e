"""OpenAI's routes on the same port, as Ollama serves them."""
