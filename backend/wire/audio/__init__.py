"""Transcriptions as OpenAI has them: the form, the replies, and the same asked of an upstream."""
