"""Settings of the search of documents."""

from pydantic import Field

from backend.core.config_types import BaseUrl, Group, Secret


class RetrievalSettings(Group):
    """How documents are searched."""

    reranker_url: BaseUrl | None = Field(
        None,
        description="Address of a server with /v1/rerank (vLLM, llama.cpp, TEI), which is sent questions and passages "
        "and sorts what was found; unset for none. It has 800 ms, after which the order stays as it was.",
    )
    reranker_model: str = Field("", max_length=200, description="The model it is asked for.")
    reranker_key: Secret | None = Field(None, description="The key it is shown.")
