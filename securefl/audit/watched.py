"""DP-SGD with its steps watched from inside, by the client that owns the code."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from securefl import vector
from securefl.audit.canaries import Canaries
from securefl.audit.evidence import Evidence, Sums, clip_factors, gradient_sums
from securefl.data.task import Examples, Task
from securefl.learning.dp_sgd import DpSgd
from securefl.learning.plan import DpPlan
from securefl.learning.protocol import Trained
from securefl.rng import Keystream

ONES = 2048  # canaries of one coordinate; coins put half of them in
GROUPS = 4  # dense gradients
TWINS = 64  # records that share a dense gradient, so that several of them come in one batch
UNCLIPPED, WHOLE, TENSORS = (
    "no clipping",
    "clipping of the sum",
    "clipping of each tensor by itself",
)
LENGTH, ONE, DENSE = "all gradients", "one-coordinate canaries", "dense canaries"


class Probes(Canaries):
    """Canaries that test the code from inside: of one coordinate, and dense ones that come in numbers.

    Dense gradients have all coordinates, and `TWINS` records share each; all of these are in.

    Args:
        d: coordinates of the model, >= `FEWEST`.
        norm: of each gradient, before clipping.
        stream: draws the coordinates, the signs and, by fair coins, who is in.
        ones: canaries of one coordinate at most.
        groups: dense gradients; with ones = 0 as well, a client is watched and nothing added.

    Attributes:
        evidence: what was seen of the steps; None before a machine was made.
    """

    def __init__(
        self, d: int, *, norm: float, stream: Keystream, ones: int = ONES, groups: int = GROUPS
    ) -> None:
        super().__init__(d, norm=norm, stream=stream, most=ones)
        self.dense = torch.from_numpy(stream.bernoulli(groups * d, probability=0.5)).view(groups, d)
        self.evidence: Evidence | None = None

    @property
    def members(self) -> Tensor:
        """The canaries of one coordinate that are in."""
        return self.inside.nonzero()[:, 0]

    @property
    def records(self) -> int:
        """How many records the probes are: those of one coordinate that are in, and the dense ones."""
        return len(self.members) + TWINS * len(self.dense)

    def machine(self, model: nn.Module, task: Task, *, lr: float) -> DpSgd:
        """Returns the DP-SGD whose steps are watched."""
        return WatchedDpSgd(model, task, lr=lr, probes=self)

    def write(self, rows: Tensor, places: Tensor) -> None:
        """Writes the gradients of those at places (k,) into rows (k, d), which are zero.

        Places count the ones of one coordinate that are in, then the dense ones, of which `TWINS`
        neighbours share a gradient.
        """
        members = self.members
        ones, dense = places < len(members), places >= len(members)
        chosen = members[places[ones]]
        rows[ones.nonzero()[:, 0], self.coordinates[chosen]] = (
            self.norm * self.signs[chosen]
        ).float()
        if bool(dense.any()):
            rows[dense] = self.dense_gradients((places[dense] - len(members)) // TWINS)

    def dense_gradients(self, groups: Tensor) -> Tensor:
        """(k, d), the gradients of dense canaries of these groups (k,)."""
        signs = self.dense[groups].float() * 2 - 1
        return signs * (self.norm / math.sqrt(max(1, self.dense.shape[1])))


class WatchedDpSgd(DpSgd):
    """DP-SGD that draws, clips and sums probes as it does records, and takes evidence of every step.

    The evidence comes from the gradients that enter the optimizer and from the weights before and
    after a step. No line of the code that is watched is replaced.

    Args:
        model: as `DpSgd` takes it.
        task: gives the loss of real records.
        lr: learning rate, > 0.
        probes: come after the records.
    """

    def __init__(self, model: nn.Module, task: Task, *, lr: float, probes: Probes) -> None:
        super().__init__(model, task, lr=lr)
        self._probes, self._lr = probes, lr
        self._sizes = [p.numel() for p in self.module.parameters()]
        self._evidence = probes.evidence = Evidence(self._sizes)
        self._memory, empty = torch.zeros(0, sum(self._sizes)), torch.zeros(0)
        self._of_groups = Sums(empty, empty, empty)  # (groups, d) each
        self._clip, self._unit = 1.0, 1.0

    def run(
        self,
        weights: Tensor,
        examples: Examples,
        plan: DpPlan,
        *,
        sampling: Keystream,
        noise: Keystream,
    ) -> Trained:
        """As `DpSgd.run`; notes every step."""
        self._clip, self._unit = plan.clip, self._lr / plan.normaliser
        self._of_groups = self._sums_of_groups()
        self._evidence.begin_round(weights, records=self.records(examples))
        trained = super().run(weights, examples, plan, sampling=sampling, noise=noise)
        self._evidence.end_round(weights + trained.delta, unit=self._unit)
        return trained

    def records(self, examples: Examples) -> int:
        """The real ones and the probes."""
        return len(examples) + self._probes.records

    def per_example_gradients(self, examples: Examples, chosen: Tensor) -> None:
        """Those of the real records chosen, then those of the canaries."""
        weights = vector.to_vector(self.module)
        self._evidence.end_step(weights, unit=self._unit)
        parameters: list[Any] = list(self.module.parameters())
        real = self._real_gradients(examples, chosen[chosen < len(examples)], parameters)  # (k, d)
        places = chosen[chosen >= len(examples)] - len(examples)
        self._note(weights, chosen, real.double(), places)
        rows = self._rows(len(real) + len(places))
        rows[: len(real)] = real
        self._probes.write(rows[len(real) :], places)
        for p, part in zip(parameters, torch.split(rows, self._sizes, dim=1), strict=True):
            p.grad_sample = part.view(-1, *p.shape)

    def _rows(self, count: int) -> Tensor:
        """(count, d) zeros, in memory that is used again: fresh pages cost more than the sums."""
        if len(self._memory) < count:
            self._memory = torch.zeros(count + count // 4, sum(self._sizes))
        return self._memory[:count].zero_()

    def _real_gradients(self, examples: Examples, chosen: Tensor, parameters: list[Any]) -> Tensor:
        """(k, d) of the records chosen; the first of a round is also taken alone."""
        alone = None
        if len(chosen) > 1 and len(self._evidence.rounds[-1].members) == 0:
            super().per_example_gradients(examples, chosen[:1])
            alone = torch.cat([p.grad_sample.flatten(1) for p in parameters], dim=1)[0]
            self._optimizer.zero_grad(set_to_none=True)
        super().per_example_gradients(examples, chosen)
        rows = torch.cat([p.grad_sample.flatten(1) for p in parameters], dim=1)
        if alone is not None:
            apart = float((rows[0] - alone).norm()) / max(float(alone.norm()), self._clip)
            self._evidence.mixed = max(self._evidence.mixed, apart)
        return rows

    def _note(self, weights: Tensor, chosen: Tensor, real: Tensor, places: Tensor) -> None:
        """Computes the clipped sum of the step, and where it would have gone with another clipping."""
        first_dense = len(self._probes.members)
        one, of_dense = (
            self._ones(places[places < first_dense]),
            self._dense(places[places >= first_dense]),
        )
        others = gradient_sums(real, self._sizes, clip=self._clip) + of_dense
        total = others + one
        whole = total.raw * clip_factors(total.raw.norm(), self._clip)
        directions = {
            UNCLIPPED: total.raw - total.clipped,
            WHOLE: whole - total.clipped,
            TENSORS: total.by_tensor - total.clipped,
            LENGTH: total.clipped,
            ONE: one.clipped,
            DENSE: of_dense.clipped,
        }
        self._evidence.begin_step(weights, chosen, total.clipped, directions)

    def _ones(self, places: Tensor) -> Sums:
        """The sums over the canaries of one coordinate at places (k,), each in a tensor by itself."""
        members = self._probes.members[places]
        raw = torch.zeros(sum(self._sizes), dtype=torch.float64)
        raw[self._probes.coordinates[members]] = self._probes.norm * self._probes.signs[members]
        clipped = raw * clip_factors(
            torch.tensor(self._probes.norm, dtype=torch.float64), self._clip
        )
        return Sums(clipped, raw, clipped)

    def _sums_of_groups(self) -> Sums:
        """What one record of each dense gradient adds to a sum, (groups, d) each."""
        rows = self._probes.dense_gradients(torch.arange(len(self._probes.dense))).double()
        found = [gradient_sums(row[None], self._sizes, clip=self._clip) for row in rows]
        return Sums(
            *(torch.stack([one[at] for one in found]) if found else rows for at in range(3))
        )

    def _dense(self, places: Tensor) -> Sums:
        """The sums over the dense canaries at places (k,), counted from the first of them."""
        groups = len(self._probes.dense)
        counts = torch.bincount(
            (places - len(self._probes.members)) // TWINS, minlength=groups
        ).double()
        return Sums(*(counts @ rows for rows in self._of_groups))
