"""What is wrong with a body is said in plain words, field by field, and nothing that was sent is repeated."""

import json
from typing import Annotated, Any

import pytest
from pydantic import AfterValidator, BaseModel, ConfigDict, EmailStr, Field, ValidationError, model_validator

from backend.web.complaints import complaints

SECRET = "psl_0123456789012345678901234567890123456789012345678"  # noqa: S105 (of nobody)


def _even(number: int) -> int:
    if number % 2:
        raise ValueError("must be even")
    return number


class Thing(BaseModel):
    """A body with one of everything."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=2, max_length=5)
    number: Annotated[int, Field(ge=1, le=9), AfterValidator(_even)] = 2
    email: EmailStr = "a@example.org"
    tags: list[str] = Field(default_factory=list, max_length=1)

    @model_validator(mode="after")
    def _check(self) -> "Thing":
        if self.name == "nobody":
            raise ValueError("nobody has that name; choose another one")
        return self


def told(body: Any) -> list[tuple[str, str]]:
    with pytest.raises(ValidationError) as caught:
        Thing.model_validate(body)
    return [(found.field, found.message) for found in complaints(caught.value.errors())]


@pytest.mark.parametrize(
    ("body", "field", "message"),
    [
        ({}, "name", "'name' is missing"),
        ([], "", "send a body that is a JSON object, such as {}"),
        ({"name": 1}, "name", "'name' must be a text"),
        ({"name": "x"}, "name", "'name' must have 2 characters at least"),
        ({"name": "x" * 6}, "name", "'name' may have 5 characters at most"),
        ({"name": "xx", "number": "many"}, "number", "'number' must be a whole number"),
        ({"name": "xx", "number": 10}, "number", "'number' must be 9 or less"),
        ({"name": "xx", "number": 3}, "number", "'number' must be even"),
        ({"name": "xx", "email": "x"}, "email", "'email' is not an email address such as ada@example.org"),
        ({"name": "xx", "tags": ["a", "b"]}, "tags", "'tags' may have 1 entries at most"),
        ({"name": "xx", "tags": [1]}, "tags[0]", "'tags[0]' must be a text"),
        ({"name": "xx", "options": 1}, "options", "there is no field 'options' here"),
    ],
)
def test_each_problem_is_one_sentence_about_its_field(body: Any, field: str, message: str) -> None:
    assert told(body) == [(field, message)]


def test_a_sentence_of_ours_about_the_whole_stands_as_it_is() -> None:
    class Short(Thing):
        name: str = "nobody"

    with pytest.raises(ValidationError) as caught:
        Short.model_validate({})
    assert complaints(caught.value.errors())[0].message == "nobody has that name; choose another one"


def test_the_name_of_an_unknown_field_may_be_a_secret_and_values_are_not_repeated() -> None:
    assert SECRET not in str(told({"name": [SECRET], SECRET: 1, "x" * 5000: 1}))
    assert all(len(message) < 200 for _, message in told({"name": [SECRET], "x" * 5000: 1}))


def test_an_id_in_the_path_is_said_again() -> None:
    error = {"type": "uuid_parsing", "loc": ("path", "agent_id"), "msg": "", "input": "legal"}
    assert complaints([error])[0].message == "'legal' is not an id"


@pytest.mark.parametrize(
    ("text", "where"), [("{'a': 1}", "line 1, column 2"), ('{"a": 1,\n "b" 2}', "line 2, column 6"), ("x", "column 1")]
)
def test_where_json_goes_wrong_is_told(text: str, where: str) -> None:
    with pytest.raises(json.JSONDecodeError) as caught:
        json.loads(text)
    error = {"type": "json_invalid", "loc": ("body", caught.value.pos), "msg": "", "ctx": {"error": caught.value.msg}}
    told = complaints([error], text)[0].message
    assert told.startswith("the body is not JSON: expecting ")
    assert told.endswith(where)
