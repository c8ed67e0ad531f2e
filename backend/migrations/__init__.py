"""The history of the tables; run by `passerelle migrate`, and at the start on SQLite."""
