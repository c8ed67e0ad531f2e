"""All metrics, in one place; labels come from closed sets (configured backends, outcomes), never from callers."""

from prometheus_client import Counter, Gauge, Histogram

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)

ANSWERS = Counter("passerelle_answers", "Answers by how they ended", ["backend", "outcome"])
TOKENS = Counter("passerelle_tokens", "Tokens read and written", ["backend", "direction"])
FIRST_TOKEN = Histogram("passerelle_first_token_seconds", "Time to the first token", ["backend"], buckets=_SECONDS)
ANSWER_TIME = Histogram("passerelle_answer_seconds", "Time of whole answers", ["backend"], buckets=_SECONDS)
ACTIVE = Gauge("passerelle_active_answers", "Answers being generated", multiprocess_mode="livesum")
RETRIES = Counter("passerelle_retries", "Second tries at a backend", ["backend"])
UPSTREAM_ERRORS = Counter("passerelle_upstream_errors", "Failures of backends", ["backend", "kind"])
AUTH_FAILURES = Counter("passerelle_upstream_auth_failures", "Times a backend refused our key", ["backend"])
CIRCUIT_OPEN = Gauge(
    "passerelle_circuit_open",
    "1 while a failing backend is left alone",
    ["backend"],
    multiprocess_mode="livemax",
)
REQUESTS = Counter("passerelle_requests", "HTTP requests", ["route", "status"])
RETRIEVALS = Counter("passerelle_retrievals", "Searches of documents by how they went", ["mode"])
RETRIEVAL_TIME = Histogram(
    "passerelle_retrieval_seconds", "Time of searches of documents", buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5)
)
FOREIGN_PASSAGES = Counter("passerelle_foreign_passages", "Passages found that their finder may not read; dropped")
QUOTA_REFUSALS = Counter("passerelle_quota_refusals", "Requests that a quota had no room for", ["quota"])
LEDGER_SPOOL = Gauge(
    "passerelle_ledger_spool", "Ends of requests that wait for the database to answer", multiprocess_mode="livesum"
)
