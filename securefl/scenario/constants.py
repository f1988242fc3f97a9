"""Public numbers and files of a scenario that follow without its model and channel."""

from collections.abc import Sequence
from functools import cached_property

from securefl.learning.weights import digest
from securefl.scenario.declaration import Declaration
from securefl.scenario.sites import Sites
from securefl.scenario.tables import MAX_COUNT


class Constants(Sites):
    """What follows from the tables [data] and [privacy], and from the key weights.

    Attributes:
        members: all clients, or those of a region.
    """

    def __init__(self, declared: Declaration) -> None:
        super().__init__(declared)
        # A range needs no memory: the number of clients may be one that no check has seen yet.
        self.members: Sequence[int] = range(self.clients)

    @property
    def reads_files(self) -> bool:
        """Whether the scenario names files of its user's: data, code or weights."""
        data, model = self._declared.data, self._declared.model
        paths = (data.path, model.weights)
        is_file = isinstance(data.schema_, str) or isinstance(data.crosswalk, str)
        return bool(self.code) or is_file or any(path is not None for path in paths)

    @cached_property
    def data_digest(self) -> str | None:
        """The digest of a user's own records; None for published ones."""
        digest_of = self.data_set.digest
        return None if digest_of is None else digest_of()

    @cached_property
    def weights_digest(self) -> str | None:
        """The SHA-256 of the file of initial weights; None without one. Raises ScenarioError."""
        path = self._declared.model.weights
        return None if path is None else digest(self._declared.home / path)

    def client_weight(self, client: int, real_records: int | None) -> int:
        """Returns the weight that a client states.

        Args:
            client: its id.
            real_records: its record count where weights are reported; None everywhere else, so
                that the weight is a public number.
        """
        if real_records is not None:
            return real_records
        return 1 if self._declared.weights == "equal" else self.site_records[client]

    @cached_property
    def public_weights(self) -> dict[int, int] | None:
        """The weights that the server uses; None where clients report theirs."""
        if self._declared.weights == "reported":
            return None
        return {client: self.client_weight(client, None) for client in self.members}

    @cached_property
    def max_weight(self) -> int:
        """The largest weight that a client may carry."""
        if self.public_weights is not None:
            return max(self.public_weights.values())
        # Where nobody knows how many records there are, the wire format is the only limit.
        records = self.data_set.records if self.data_set.published else MAX_COUNT
        return self._declared.channel.max_weight or records
