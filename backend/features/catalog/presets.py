"""Where the catalog finds models of ours, whoever keeps them."""

from collections.abc import Sequence
from typing import Protocol

from backend.features.auth.principal import Principal
from backend.llm.names import ModelName
from backend.llm.presets import Preset


class PresetSource(Protocol):
    """Knows all presets and who may use them; answers from memory, since it is asked on every request."""

    def find(self, name: ModelName, principal: Principal) -> Preset | None:
        """Return the preset of a name, or None when there is none that the caller may use."""
        ...

    def all(self, principal: Principal) -> Sequence[Preset]:
        """Return the presets a caller may use, in the order of their names."""
        ...

    def takes(self, name: ModelName) -> bool:
        """Whether a preset has this name, whoever may use it."""
        ...


class NoPresets:
    """The source of a gateway without models of its own."""

    def find(self, name: ModelName, principal: Principal) -> Preset | None:  # noqa: ARG002 (the port's arguments)
        """See `PresetSource.find`."""
        return None

    def all(self, principal: Principal) -> Sequence[Preset]:  # noqa: ARG002 (the port's arguments)
        """See `PresetSource.all`."""
        return ()

    def takes(self, name: ModelName) -> bool:  # noqa: ARG002 (the port's arguments)
        """See `PresetSource.takes`."""
        return False
