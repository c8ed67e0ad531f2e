"""Email addresses as accounts keep them."""

from typing import Annotated

from pydantic import AfterValidator, EmailStr, Field, TypeAdapter, ValidationError

Email = Annotated[EmailStr, Field(max_length=254), AfterValidator(str.lower)]
"""A well-formed address, in lower case."""

_EMAIL: TypeAdapter[str] = TypeAdapter(Email)


def readable_email(text: str) -> str | None:
    """Return an address as accounts keep it; None for what is none."""
    try:
        return _EMAIL.validate_python(text)
    except ValidationError:
        return None
