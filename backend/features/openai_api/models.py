"""Listing and naming models as OpenAI's clients ask for it."""

from backend.core.clock import read_rfc3339
from backend.features.auth.principal import Principal
from backend.features.catalog.service import CatalogModel, CatalogService
from backend.wire.jsontext import encode_json
from backend.wire.ollama.replies import HOSTED_SINCE
from backend.wire.openai.replies import model_entry, model_list


class Models:
    """OpenAI's model routes, without HTTP."""

    def __init__(self, catalog: CatalogService) -> None:
        self._catalog = catalog

    async def list(self, principal: Principal) -> bytes:
        """Return the reply to `GET /v1/models`: every model the caller may use, the newest first."""
        models = sorted(await self._catalog.models(principal), key=_created, reverse=True)
        return model_list([model_entry(m.name.short, _created(m), m.name.namespace) for m in models])

    async def one(self, name: str, principal: Principal) -> bytes:
        """Return the reply to `GET /v1/models/{name}`, under the name the caller wrote."""
        model = await self._catalog.resolve(name, principal)
        return encode_json(model_entry(name, _created(model), model.name.namespace))


def _created(model: CatalogModel) -> int:
    """Return when a model was made: an Ollama machine tells it, for hosted ones it is the date Ollama's routes show."""
    if model.preset is not None:
        return int(model.preset.modified_at.timestamp())
    moment = read_rfc3339(model.info.native.get("modified_at")) or HOSTED_SINCE
    return int(moment.timestamp())
