"""What an operator types, and what they are told."""

from pathlib import Path

import pytest

from backend.features.keys.format import is_well_formed
from tests.e2e.conftest import NO_OLLAMA, Run
from tests.fakes.scripted_upstream import ScriptedUpstream, json_reply, sse_reply
from tests.fixtures.databases import PostgresServer
from tests.fixtures.gateway import free_port

CARDS = {
    "data": [{"id": "tiny", "object": "model", "capabilities": {"completion_chat": True}, "max_context_length": 4096}]
}
CHUNK = b'data: {"choices":[{"delta":{"content":"%s"},"finish_reason":null}]}\n\n'
END = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


def mistral(upstream: ScriptedUpstream) -> dict[str, str]:
    upstream.defaults["GET /v1/models"] = json_reply(CARDS)
    return {"MISTRAL_API_KEY": "test-key", "MISTRAL_BASE_URL": upstream.url}


@pytest.mark.parametrize("arguments", [("--help",), ("serve", "--help"), ("doctor", "--help"), ("chat", "--help")])
def test_help_explains(run: Run, arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert done.returncode == 0
    assert "Usage" in done.stdout


def test_models_lists_what_can_be_asked(run: Run, upstream: ScriptedUpstream) -> None:
    done = run("models", env=mistral(upstream))
    assert done.returncode == 0
    head, row = done.stdout.strip().split("\n")
    assert head.split() == ["NAME", "BACKEND", "CONTEXT", "CAPABILITIES"]
    assert row.split() == ["tiny:latest", "mistral", "4096", "completion"]


def test_without_any_setting_the_demo_answers(run: Run) -> None:
    done = run("chat", "demo", "hello", env=NO_OLLAMA)
    assert done.returncode == 0
    assert "no model is configured" in done.stdout
    assert "demo" in run("models", env=NO_OLLAMA).stdout


@pytest.mark.parametrize("arguments", [("chat", "tiny", "hello"), ("chat", "tiny")], ids=["argument", "standard input"])
def test_chat_prints_the_answer(run: Run, upstream: ScriptedUpstream, arguments: tuple[str, ...]) -> None:
    env = mistral(upstream)
    upstream.defaults["POST /v1/chat/completions"] = sse_reply(CHUNK % b"Hel" + CHUNK % b"lo!" + END)
    done = run(*arguments, env=env, text="hello")
    assert (done.returncode, done.stdout) == (0, "Hello!\n")
    assert upstream.requests[-1].body["messages"][-1]["content"] == "hello"


def test_chat_with_an_unknown_model_says_so(run: Run, upstream: ScriptedUpstream) -> None:
    done = run("chat", "nope", "hello", env=mistral(upstream))
    assert done.returncode == 1
    assert done.stderr.strip() == "passerelle: model 'nope' not found"


def test_doctor_is_content_with_a_backend_that_answers(run: Run, upstream: ScriptedUpstream) -> None:
    done = run("doctor", env=mistral(upstream))
    assert done.returncode == 0
    assert "1 models in" in done.stdout
    assert "test-key" not in done.stdout + done.stderr


def test_doctor_names_the_demo_for_what_it_is(run: Run) -> None:
    done = run("doctor", env=NO_OLLAMA)
    assert done.returncode == 0
    assert "only the demo answers" in done.stdout


def test_doctor_with_an_unreachable_backend_fails_and_says_what_to_do(run: Run) -> None:
    done = run("doctor", env={"VLLM_BASE_URLS": f"http://127.0.0.1:{free_port()}"})
    assert done.returncode == 1
    assert "FAILED" in done.stdout
    assert "-> start the server, or correct its base URL" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_doctor_with_a_refused_key_says_so(run: Run, upstream: ScriptedUpstream) -> None:
    env = mistral(upstream)
    upstream.defaults["GET /v1/models"] = json_reply({"detail": "Unauthorized"}, 401)
    done = run("doctor", env=env)
    assert done.returncode == 1
    assert "MISTRAL_API_KEY" in done.stdout
    assert "refuses the key" in done.stdout


def test_doctor_with_a_backend_without_models_fails(run: Run, upstream: ScriptedUpstream) -> None:
    done = run("doctor", env={"OLLAMA_BASE_URLS": upstream.url})
    assert done.returncode == 1
    assert "load or pull a model there" in done.stdout


def test_doctor_with_a_bucket_that_is_away_fails_and_says_what_to_check(run: Run, upstream: ScriptedUpstream) -> None:
    bucket = {
        "S3_ENDPOINT_URL": f"http://127.0.0.1:{free_port()}",
        "GATEWAY_S3__BUCKET": "documents",
        "GATEWAY_S3__ACCESS_KEY_ID": "an-access-key",
        "GATEWAY_S3__SECRET_ACCESS_KEY": "canary-secret",
    }
    done = run("doctor", env=mistral(upstream) | bucket)
    assert done.returncode == 1
    assert "files     in the bucket documents" in done.stdout
    assert "-> check S3_ENDPOINT_URL" in done.stdout
    assert "1 models in" in done.stdout
    assert "canary" not in done.stdout + done.stderr


WRONG = {
    "an unknown name": {"GATEWAY_FOO": "1"},
    "a bad value": {"GATEWAY_SERVER__PORT": "many"},
    "a public bind that is open": {"GATEWAY_SERVER__HOST": "0.0.0.0", "GATEWAY_AUTH": "open"},  # noqa: S104
    "a weak key": {"GATEWAY_API_KEYS": "changeme"},
    "two backends of one name": {
        "OLLAMA_BASE_URLS": "http://a",
        "GATEWAY_BACKENDS__OLLAMA__KIND": "vllm",
        "GATEWAY_BACKENDS__OLLAMA__BASE_URL": "http://b",
    },
    "an unknown capability": {
        "GATEWAY_BACKENDS__LAB__KIND": "vllm",
        "GATEWAY_BACKENDS__LAB__BASE_URL": "http://b",
        "GATEWAY_BACKENDS__LAB__CAPABILITIES": "flying",
    },
    "several workers on an embedded database": {"GATEWAY_SERVER__WORKERS": "2"},
    "a weak signing key": {"JWT_SECRET_KEY": "changeme" * 5},
    "a shared database without a shared key": {"DATABASE_URL": "postgresql://u:changeme@127.0.0.1:1/d"},
    "a database that is not there": {
        "DATABASE_URL": "postgresql://u:changeme@127.0.0.1:1/d",
        "JWT_SECRET_KEY": "0f9c2b7a5d3e8146a0b1c2d3e4f50617",
    },
    "a data folder that cannot be": {"GATEWAY_DATA_DIR": "/dev/null/data"},
    "a certificate file that is not there": {"MISTRAL_API_KEY": "k", "GATEWAY_TLS__CA_FILE": "nowhere.pem"},
    "half a bucket": {"S3_ENDPOINT_URL": "http://127.0.0.1:1", "GATEWAY_S3__SECRET_ACCESS_KEY": "changeme"},
    "recognition by nobody": {"GATEWAY_KNOWLEDGE__OCR": "mistral"},
    "recognition in no language": {
        "GATEWAY_KNOWLEDGE__OCR": "tesseract",
        "GATEWAY_KNOWLEDGE__OCR_LANGUAGES": "nowhere",
    },
}


@pytest.mark.parametrize("command", ["serve", "doctor"])
@pytest.mark.parametrize("wrong", WRONG)
def test_what_cannot_work_refuses_to_start_with_one_line(run: Run, command: str, wrong: str) -> None:
    done = run(command, env={"GATEWAY_METRICS__PORT": "0", "GATEWAY_SERVER__PORT": str(free_port()), **WRONG[wrong]})
    assert done.returncode == 2, done.stderr
    [line] = [line for line in done.stderr.strip().split("\n") if line.startswith("passerelle: ")]
    assert "Traceback" not in done.stderr
    assert "changeme" not in line


@pytest.mark.parametrize("arguments", [("--port", "99999"), ("--workers", "0")])
def test_a_wrong_argument_refuses_to_start_without_a_traceback(run: Run, arguments: tuple[str, ...]) -> None:
    done = run("serve", *arguments, env={"GATEWAY_METRICS__PORT": "0"})
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


KEY = "0f9c2b7a5d3e8146a0b1c2d3e4f50617"
PASSWORD = "a long and rare phrase"  # noqa: S105


def test_the_command_line_makes_an_administrator(run: Run) -> None:
    done = run("admin", "create", "--email", "Ada@Example.org", text=f"{PASSWORD}\n")
    assert (done.returncode, done.stdout) == (0, "ada@example.org is an administrator; their trigramme is ada\n")
    again = run("admin", "create", "--email", "ada@example.org", "--password", PASSWORD)
    assert again.returncode == 1
    assert again.stderr.strip() == "passerelle: there is an account with this email already"


def test_a_database_server_is_brought_up_to_date_by_command(run: Run, postgres: PostgresServer) -> None:
    env = {"DATABASE_URL": postgres.create_database(), "JWT_SECRET_KEY": KEY}
    behind = run("admin", "create", "--email", "a@example.org", "--password", PASSWORD, env=env)
    assert behind.returncode == 2
    assert behind.stderr.strip().endswith("run 'passerelle migrate' once, then start")
    assert run("migrate", env=env).stdout == "the database's tables are up to date\n"


def test_the_command_line_makes_lists_renews_and_revokes_keys(run: Run) -> None:
    assert run("admin", "create", "--email", "ada@example.org", "--password", PASSWORD).returncode == 0
    made = run("keys", "create", "--user", "Ada@example.org", "--name", "laptop", "--expires-days", "30")
    assert made.returncode == 0, made.stderr
    key = made.stdout.rstrip("\n")
    assert is_well_formed(key)
    assert key not in made.stderr
    bounds = ("--models", "small,me/legal", "--permissions", "models:use", "--networks", "192.0.2.0/24")
    assert run("keys", "create", "--user", "ada@example.org", "--name", "bound", *bounds).returncode == 0
    listed = run("keys", "list", "--user", "ada@example.org").stdout.rstrip("\n").split("\n")
    assert [line.rpartition("  ")[2] for line in listed] == ["bound", "laptop"]
    assert key not in "".join(listed)
    key_id = listed[1].split()[0]
    renewed = run("keys", "rotate", key_id, "--overlap-minutes", "5")
    assert renewed.returncode == 0, renewed.stderr
    assert is_well_formed(renewed.stdout.rstrip("\n"))
    assert renewed.stdout.rstrip("\n") != key
    assert "within a minute" in run("keys", "revoke", key_id).stdout
    assert run("keys", "rotate", key_id).stderr.strip() == "passerelle: this key is revoked; make a new one"
    assert "revoked" in run("keys", "list", "--user", "ada@example.org").stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("create", "--user", "eve@example.org", "--name", "x"), "nobody has an account"),
        (("create", "--user", "a@example.org", "--name", "x", "--permissions", "fly"), "--permissions"),
        (("create", "--user", "a@example.org", "--name", "x", "--networks", "here"), "--networks"),
        (("create", "--user", "a@example.org", "--name", "x", "--expires-days", "-1"), "--expires-days"),
        (("create", "--user", "a@example.org", "--name", " "), "--name"),
        (("list", "--user", "eve@example.org"), "nobody has an account"),
        (("revoke", "3f0c1c60-0000-4000-8000-000000000000"), "there is no such key"),
        (("revoke", "x"), "UUID"),
        (("rotate", "3f0c1c60-0000-4000-8000-000000000000"), "there is no such key"),
        (("create", "--user", "a@example.org", "--name", "x", "--networks", "192.0.2.7/24"), "192.0.2.0/24?"),
    ],
    ids=str,
)
def test_a_wrong_key_command_says_what_is_wrong(run: Run, arguments: tuple[str, ...], told: str) -> None:
    done = run("keys", *arguments)
    assert done.returncode in {1, 2}
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_documents_are_added_to_a_collection_by_a_command(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "papers"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.txt").write_text("words about leave")
    (folder / "deep" / "b.md").write_text("# Notice\n\nwords about notice")
    (folder / "bad.pdf").write_bytes(b"%PDF-1.7 nothing more")
    (folder / ".hidden").write_text("not this one")
    assert run("admin", "create", "--email", "ada@example.org", "--password", "a long and rare phrase").returncode == 0
    unknown = run("ingest", str(folder), "--collection", "papers")
    assert (unknown.returncode, "say whose it is with --user" in unknown.stderr) == (2, True)
    done = run("ingest", str(folder), "--collection", "papers", "--user", "ada@example.org")
    assert done.returncode == 1
    assert "bad.pdf: this file is damaged" in done.stderr or "bad.pdf: this PDF is damaged" in done.stderr, done.stderr
    assert "2 of 3 documents are in the collection 'papers'" in done.stdout
    again = run("ingest", str(folder / "a.txt"), "--collection", "papers")
    assert (again.returncode, "1 of 1 documents" in again.stdout) == (0, True), again.stderr


def test_the_command_line_tells_what_was_used(run: Run, upstream: ScriptedUpstream) -> None:
    env = {**mistral(upstream), "GATEWAY_USAGE__PRICES": '{"tiny": {"input": "500000"}}'}
    upstream.defaults["POST /v1/chat/completions"] = sse_reply(CHUNK % b"Hi" + END)
    assert run("admin", "create", "--email", "ada@example.org", "--password", PASSWORD).returncode == 0
    assert run("chat", "tiny", "hello", env=env).returncode == 0
    head, *rows = [line.split() for line in run("usage", env=env).stdout.strip().split("\n")]
    assert head == ["USER", "REQUESTS", "READ", "WRITTEN", "EUR"]
    assert rows == [["-", "1", "1", "1", "0.5"], ["all", "1", "1", "1", "0.5"]]
    own = run("usage", "--user", "ada@example.org", "--days", "1", env=env)
    assert own.stdout.strip().split("\n")[-1].split() == ["all", "0", "0", "0", "0"]
    unknown = run("usage", "--user", "eve@example.org", env=env)
    assert (unknown.returncode, "nobody has an account" in unknown.stderr) == (1, True)
