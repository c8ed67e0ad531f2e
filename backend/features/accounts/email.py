"""Email addresses as accounts keep them."""

from typing import Annotated

from pydantic import AfterValidator, EmailStr, Field

Email = Annotated[EmailStr, Field(max_length=254), AfterValidator(str.lower)]
"""A well-formed address, in lower case."""
