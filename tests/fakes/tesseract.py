"""A program that stands in for tesseract: it tells what it was given, and does what a test wants."""

from pathlib import Path

_SCRIPT = """#!/bin/sh
if [ "$1" = --list-langs ]; then
    printf 'List of available languages:\\n{languages}\\n'
    exit 0
fi
size=$(head -c 15 | tr '\\n' ' ')
cat > /dev/null
{does}
"""
TELLS = 'echo "seen $size with $*"'
"""Write the head of the picture and the arguments."""


def program(folder: Path, does: str = TELLS, languages: str = "eng\\nfra") -> str:
    """Return the path of a program that does this with each picture; `folder` can be put on the PATH."""
    folder.mkdir(exist_ok=True)
    made = folder / "tesseract"
    made.write_text(_SCRIPT.format(does=does, languages=languages))
    made.chmod(0o755)
    return str(made)
