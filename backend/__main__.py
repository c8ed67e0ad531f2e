"""`python -m backend` is the `passerelle` command."""

from backend.cli import run

if __name__ == "__main__":
    run()
