"""Whose conversations are not kept: front ends', and of keys and agents for which their owner has switched them off."""

import uuid
from collections.abc import Collection

from backend.features.auth.principal import Principal
from backend.features.keys.stores import key_of
from backend.llm.presets import Preset


class Switches:
    """All switches, in memory."""

    def __init__(self) -> None:
        self._off: frozenset[uuid.UUID] = frozenset()

    def read(self, subjects: Collection[uuid.UUID]) -> None:
        """Take over which keys and agents are off."""
        self._off = frozenset(subjects)

    def is_off(self, principal: Principal, preset: Preset | None) -> bool:
        """Whether what this caller asks of this model is not kept."""
        if principal.serves_others:
            return True  # whoever asks by a front end's key, and has no account, is not its owner
        if not self._off:
            return False
        if preset is not None and uuid.UUID(preset.preset_id) in self._off:
            return True
        return key_of(principal) in self._off
