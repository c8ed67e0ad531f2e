"""Every table of every feature, so that the metadata is whole for migrations."""

from backend.core.db.tables import Table
from backend.features.accounts import models as accounts
from backend.features.agents import models as agents
from backend.features.audit import models as audit
from backend.features.history import models as history
from backend.features.keys import models as keys
from backend.features.knowledge import models as knowledge
from backend.features.memory import models as memory
from backend.features.usage import models as usage

MODELS = (accounts, agents, audit, history, keys, knowledge, memory, usage)
METADATA = Table.metadata
"""All tables; complete because the modules above are imported here."""
