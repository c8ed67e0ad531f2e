"""Indices of vectors: exact over what the database keeps, Chroma in this process, Chroma as a server.

All do what `features.knowledge.ports.VectorIndex` says. They can be lost at any time: the vectors are kept in SQL.
"""
