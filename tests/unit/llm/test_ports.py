"""A provider offers an ability by having its method."""

import pytest

from backend.llm import ports

ABILITIES = {
    ports.ChatProvider: {"open_chat"},
    ports.Completer: {"open_completion"},
    ports.Embedder: {"embed"},
    ports.ModelLister: {"list_models"},
    ports.Passthrough: {"open_lines"},
    ports.ModelServer: {"show", "running", "pull", "create", "push", "copy", "delete", "has_blob", "put_blob"},
}


@pytest.mark.parametrize(("ability", "methods"), ABILITIES.items())
def test_an_ability_is_offered_by_its_methods(ability: type, methods: set[str]) -> None:
    able = type("Able", (), dict.fromkeys(methods, lambda _self: None))()
    assert isinstance(able, ability)
    assert not isinstance(object(), ability)
    assert [other for other in ABILITIES if isinstance(able, other)] == [ability]
