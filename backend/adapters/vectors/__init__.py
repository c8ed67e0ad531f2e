"""Indices of vectors: exact over what the database keeps, Chroma in this process, Chroma as a server.

All do what `features.knowledge.ports.VectorIndex` says. They can be lost at any time: the vectors are kept in SQL.
"""

import os

# Read when numpy is loaded, which is later. On a busy machine its threads wait for each other: comparing 10,000 vectors
# of 256 numbers took 36 ms with two of them and 0.6 ms with one.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
