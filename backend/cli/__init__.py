"""The `passerelle` command."""

import sys
import uuid
from pathlib import Path
from typing import Annotated

import typer

from backend import __version__
from backend.cli import accounts, ask, doctor, erase, ingest, keys, serve, usage, vectors
from backend.core.errors import ConfigurationError

app = typer.Typer(
    name="passerelle",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"passerelle {__version__}")
        raise typer.Exit


admin = typer.Typer(name="admin", help="Administer accounts.", no_args_is_help=True)
app.add_typer(admin)
keys_commands = typer.Typer(name="keys", help="Make, list, renew and revoke API keys.", no_args_is_help=True)
app.add_typer(keys_commands)


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """A gateway that looks like an Ollama server, in front of Mistral, vLLM, OpenAI-compatible servers and Ollama."""


@app.command("serve")
def serve_command(
    host: Annotated[str | None, typer.Option(help="Address to bind.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to bind.", min=0, max=65535)] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that serve.", min=1, max=64)] = None,
) -> None:
    """Serve clients until stopped."""
    serve.serve(host, port, workers)


@app.command("models")
def models_command() -> None:
    """List the models of all configured backends."""
    ask.list_models()


@app.command("chat")
def chat_command(
    model: Annotated[str, typer.Argument(help="Name of the model, as `passerelle models` lists it.")],
    prompt: Annotated[str | None, typer.Argument(help="What to say; read from standard input when missing.")] = None,
) -> None:
    """Ask a model once and print its answer as it comes."""
    ask.chat(model, prompt)


@app.command("doctor")
def doctor_command() -> None:
    """Check the settings and every backend, and say what to do about what is wrong."""
    raise typer.Exit(doctor.examine())


@app.command("erase")
def erase_command(
    email: Annotated[str, typer.Option(help="Whose account and everything in it is removed.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove an account with its keys, agents and chats, so that nothing of it is left on the disk."""
    erase.erase(email, confirmed=yes)


@app.command("migrate")
def migrate_command() -> None:
    """Bring the database's tables up to date; needed once per version with PostgreSQL."""
    accounts.migrate()


@app.command("reindex")
def reindex_command() -> None:
    """Make missing vectors and build the index anew, with the gateway stopped.

    A gateway that runs does it at POST /api/v1/admin/knowledge/reindex.
    """
    raise typer.Exit(vectors.reindex())


@app.command("usage")
def usage_command(
    user: Annotated[str | None, typer.Option(help="Email of one account; its models are listed then.")] = None,
    days: Annotated[int, typer.Option(help="How many days, today (UTC) included.", min=1, max=3650)] = 30,
) -> None:
    """Print what was used, by user or by model."""
    usage.show(user, days)


@admin.command("create")
def create_admin_command(
    email: Annotated[str, typer.Option(help="Their email, with which they log in.")],
    password: Annotated[
        str | None, typer.Option(help="Their password; asked for, or read from standard input, when missing.")
    ] = None,
) -> None:
    """Make an administrator."""
    accounts.create_admin(email, password)


@app.command("ingest")
def ingest_command(
    paths: Annotated[list[Path], typer.Argument(help="Files, and folders with files in them.", exists=True)],
    collection: Annotated[str, typer.Option(help="Name of the collection.")],
    user: Annotated[
        str | None, typer.Option(help="Email of its owner; the collection is made when they have none of that name.")
    ] = None,
) -> None:
    """Add documents to a collection and read them."""
    ingest.ingest(paths, collection, user)


@keys_commands.command("create")
def create_key_command(
    user: Annotated[str, typer.Option(help="Email of the account it is for.")],
    name: Annotated[str, typer.Option(help="What it is for, by which it is known again.")],
    expires_days: Annotated[int, typer.Option(help="Days it is good for; 0 for ever.", min=0, max=3650)] = 90,
    models: Annotated[str | None, typer.Option(help="Models and agents it may use, comma separated.")] = None,
    permissions: Annotated[str | None, typer.Option(help="What it may do, comma separated.")] = None,
    networks: Annotated[str | None, typer.Option(help="Networks it may be used from, comma separated.")] = None,
    requests_per_minute: Annotated[int | None, typer.Option(help="Requests it may send in a minute.")] = None,
    tokens_per_day: Annotated[int | None, typer.Option(help="Tokens it may use in a day (UTC).")] = None,
) -> None:
    """Make a key for a user; it alone is printed on standard output."""
    keys.create(
        user,
        name=name,
        expires_in_days=expires_days or None,
        models=_words(models),
        permissions=_words(permissions),
        networks=_words(networks),
        requests_per_minute=requests_per_minute,
        tokens_per_day=tokens_per_day,
    )


@keys_commands.command("list")
def list_keys_command(user: Annotated[str, typer.Option(help="Email of the account.")]) -> None:
    """List a user's keys."""
    keys.show(user)


@keys_commands.command("rotate")
def rotate_key_command(
    key_id: Annotated[uuid.UUID, typer.Argument(help="Id of the key, as the list shows it.")],
    overlap_minutes: Annotated[
        int, typer.Option(help="Minutes for which the old secret is good beside the new one.", min=0, max=1440)
    ] = 0,
) -> None:
    """Give a key a new secret; it alone is printed on standard output."""
    keys.rotate(key_id, overlap_minutes)


@keys_commands.command("revoke")
def revoke_key_command(
    key_id: Annotated[uuid.UUID, typer.Argument(help="Id of the key, as the list shows it.")],
) -> None:
    """Revoke a key."""
    keys.revoke(key_id)


def _words(text: str | None) -> list[str] | None:
    return None if text is None else [word.strip() for word in text.split(",") if word.strip()]


def run() -> None:
    """Run the command; a setting that is wrong is one line, not a traceback."""
    try:
        app(prog_name="passerelle")
    except ConfigurationError as error:
        sys.stderr.write(f"passerelle: {error}\n")
        sys.exit(2)
