"""What clients hear about an account they do not have."""

import json
import uuid

import pytest

from backend.core.errors import NotAuthenticated, NotPermitted
from backend.features.auth.principal import ANONYMOUS, Principal
from backend.features.ollama_api.account import describe_caller, refuse_cloud, sign_out


@pytest.mark.parametrize("principal", [ANONYMOUS, Principal("0f9c2b7a5d3e")])
def test_a_caller_has_a_name_and_an_id_that_stays(principal: Principal) -> None:
    told = json.loads(describe_caller(principal))
    assert told == json.loads(describe_caller(principal))
    assert told.keys() == {"id", "email", "name", "plan"}
    assert (told["name"], told["plan"]) == ("passerelle", "free")
    assert str(uuid.UUID(told["id"])) == told["id"]


def test_each_key_is_somebody_else_and_none_is_told_to_others() -> None:
    first, second = (json.loads(describe_caller(Principal(key)))["id"] for key in ("0f9c2b7a5d3e", "1f9c2b7a5d3e"))
    assert first != second
    assert "0f9c2b7a5d3e" not in first.replace("-", "")


def test_there_is_nothing_to_sign_out_of() -> None:
    with pytest.raises(NotAuthenticated, match=r"^you are not currently signed in$"):
        sign_out()


def test_what_only_the_cloud_can_do_is_refused() -> None:
    with pytest.raises(NotPermitted, match=r"^ollama cloud is disabled: web search is unavailable$"):
        refuse_cloud("web search")
