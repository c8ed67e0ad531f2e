"""Answers: admission, routing, opening an upstream, streaming, settling."""
