"""A scripted upstream that makes vectors too, for gateways that are processes of their own."""

import time

from tests.clients.scripts import mistral_models
from tests.fakes.knowledge import VectorProvider
from tests.fakes.scripted_upstream import Reply, Request, ScriptedUpstream, json_reply

EMBEDDINGS = "POST /v1/embeddings"


class EmbeddingUpstream(ScriptedUpstream):
    """Lists Mistral's models; a text always has the same vector, which depends on its words."""

    def __init__(self) -> None:
        super().__init__()
        self.defaults["GET /v1/models"] = mistral_models()
        self.is_away = False
        self.seconds = 0.0
        """How long a batch takes."""
        self._vectors = VectorProvider()

    def environment(self) -> dict[str, str]:
        """Return the settings of a gateway that asks this upstream alone."""
        return {"MISTRAL_API_KEY": "test-key", "MISTRAL_BASE_URL": self.url, "OLLAMA_BASE_URLS": ""}

    def embedded(self) -> list[str]:
        """Return all texts that it was asked to embed."""
        return [text for call in self.calls(EMBEDDINGS) for text in call.body["input"]]

    def _reply_to(self, request: Request) -> Reply:
        reply = super()._reply_to(request)
        if f"{request.method} {request.path}" != EMBEDDINGS:
            return reply
        if self.is_away:
            return json_reply({"detail": "Unauthorized"}, 401)
        time.sleep(self.seconds)
        made = [{"index": n, "embedding": self._vectors.vector(text)} for n, text in enumerate(request.body["input"])]
        return json_reply({"object": "list", "model": "mistral-embed", "data": made, "usage": {"prompt_tokens": 1}})
