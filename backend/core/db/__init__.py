"""The relational store: tables, transactions, and the queries every feature shares."""
