import pytest

from backend.features.ollama_api.profiles import ClientProfile, profile_of


@pytest.mark.parametrize("agent", ["GitHubCopilotChat/0.38.0", "githubcopilotchat/1 (linux)"])
def test_copilot_is_known_by_its_user_agent(agent: str) -> None:
    assert profile_of(agent).basename_as_asked


@pytest.mark.parametrize("agent", ["", "ollama-python/0.6.3", "GitHubCopilotChat", "Mozilla/5.0 GitHubCopilotChat/1"])
def test_everybody_else_gets_the_same_reply(agent: str) -> None:
    assert profile_of(agent) == ClientProfile()
