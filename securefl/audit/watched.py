"""DP-SGD with its steps watched from inside, by the client that owns the code."""

import math
import operator
from functools import reduce

import torch
from torch import Tensor, nn

from securefl import vector
from securefl.audit.canaries import Canaries
from securefl.audit.evidence import Evidence, PartSums, Sums, clip_factors, gradient_sums
from securefl.audit.reference import Reference
from securefl.data.task import Examples, Task
from securefl.learning.clipping.recorder import BatchGradients
from securefl.learning.dp_sgd import DpSgd
from securefl.learning.options import USUAL, StepOptions
from securefl.learning.plan import DpPlan, OnOwnStep, unseen
from securefl.learning.protocol import Trained
from securefl.rng import Keystream

MAX_SINGLES = 2048  # canaries of one coordinate; coins put half of them in
DENSE_GRADIENTS = 4
RECORDS_PER_DENSE = 64  # that share a dense gradient, so that several of them meet in one batch
# Along these directions the rest is 1 for another clipping than that of each example, and 0 for it.
UNCLIPPED = "no clipping"
WHOLE = "clipping of the sum"
TENSORS = "clipping of each tensor by itself"
# Along these the clip itself is measured.
LENGTH = "all gradients"
ONE = "one-coordinate canaries"
DENSE = "dense canaries"


class Probes(Canaries):
    """Canaries that test the code from inside: of one coordinate, and dense ones.

    Dense gradients have all coordinates, and `RECORDS_PER_DENSE` records share each; all of these
    records are in.

    Args:
        d: coordinates of the model, >= `MIN_COORDINATES`.
        norm: of each gradient, before clipping.
        stream: draws the coordinates, the signs and, by fair coins, the canaries that are in.
        singles: canaries of one coordinate at most.
        dense: number of dense gradients. Where singles and dense are 0, a client is watched and
            nothing is added to its training.

    Attributes:
        dense: (dense, d) bool, the signs of the dense gradients.
        evidence: what was seen of the steps; None before a machine was made.
    """

    def __init__(
        self,
        d: int,
        *,
        norm: float,
        stream: Keystream,
        singles: int = MAX_SINGLES,
        dense: int = DENSE_GRADIENTS,
    ) -> None:
        super().__init__(d, norm=norm, stream=stream, limit=singles)
        signs = stream.bernoulli(dense * d, probability=0.5)
        self.dense = torch.from_numpy(signs).view(dense, d)
        self.evidence: Evidence | None = None

    @property
    def members(self) -> Tensor:
        """The canaries of one coordinate that are in."""
        return self.inside.nonzero()[:, 0]

    @property
    def records(self) -> int:
        """The number of records that the probes are, dense ones included."""
        return len(self.members) + RECORDS_PER_DENSE * len(self.dense)

    def machine(
        self, model: nn.Module, task: Task, *, lr: float, options: StepOptions = USUAL
    ) -> DpSgd:
        """Returns the DP-SGD whose steps are watched."""
        return WatchedDpSgd(model, task, lr=lr, probes=self, options=options)

    def write(self, rows: Tensor, places: Tensor) -> None:
        """Writes gradients of probes into rows.

        Args:
            rows: (k, d) zeros.
            places: (k,). They count the canaries of one coordinate that are in, then the dense
                ones, of which `RECORDS_PER_DENSE` neighbours share a gradient.
        """
        members = self.members
        single = places < len(members)  # (k,)
        chosen = members[places[single]]
        values = self.norm * self.signs[chosen]
        numbers_of_rows = single.nonzero()[:, 0]
        coordinates = self.coordinates[chosen]
        rows[numbers_of_rows, coordinates] = values.float()
        dense = places[~single] - len(members)
        if len(dense):
            groups = dense // RECORDS_PER_DENSE
            rows[~single] = self.dense_gradients(groups)

    def dense_gradients(self, groups: Tensor) -> Tensor:
        """Returns (k, d), the dense gradients of these groups (k,)."""
        signs = self.dense[groups].float() * 2 - 1
        d = self.dense.shape[1]
        size = self.norm / math.sqrt(max(1, d))  # of a coordinate
        return signs * size


class WatchedDpSgd(DpSgd):
    """DP-SGD that treats probes as records, and takes evidence of every step.

    The evidence comes from the gradients that enter the optimizer and from the weights before and
    after a step. No line of the code that is watched is replaced. Where the optimizer does not
    simply move by the noisy gradient, such as Adam, that gradient is read in place of the weights.

    Args:
        model: as `DpSgd` takes it.
        task: gives the loss of real records.
        lr: learning rate, > 0.
        probes: come after the records.
        options: as `DpSgd` takes them.
    """

    def __init__(
        self,
        model: nn.Module,
        task: Task,
        *,
        lr: float,
        probes: Probes,
        options: StepOptions = USUAL,
    ) -> None:
        # Before hooks are left in the model.
        self._reference = Reference(model, options.loss(task))
        super().__init__(model, task, lr=lr, options=options)
        self._probes = probes
        self._sizes = [p.numel() for p in self.trained]
        self._evidence = Evidence(self._sizes)
        probes.evidence = self._evidence
        self._memory = torch.zeros(0, sum(self._sizes))
        empty = torch.zeros(0)
        self._of_groups = Sums(empty, empty, empty)  # (groups, d) each
        self._parts: list[PartSums] = []  # the physical batches of the step that is being taken
        self._clip = 1.0
        self._unit = 1.0  # change of the weights for each unit of the noisy sum

    def run(
        self,
        weights: Tensor,
        examples: Examples,
        plan: DpPlan,
        *,
        sampling: Keystream,
        noise: Keystream,
        round: int = 0,
        on_step: OnOwnStep = unseen,
    ) -> Trained:
        """As `DpSgd.run`; notes every step."""
        self._clip = plan.clip
        self._unit = (self.lr(round) if self.options.linear else 1.0) / plan.normaliser
        self._of_groups = self._sums_of_groups()
        self._evidence.begin_round(weights, records=self.records(examples))
        trained = super().run(
            weights,
            examples,
            plan,
            sampling=sampling,
            noise=noise,
            round=round,
            on_step=on_step,
        )
        self._evidence.end_round(weights + trained.delta, unit=self._unit)
        return trained

    def records(self, examples: Examples) -> int:
        """Returns the number of real records and probes, which share the batches."""
        return len(examples) + self._probes.records

    def step(self, examples: Examples, chosen: Tensor) -> None:
        """As `DpSgd.step`; notes what went in, and at the next step where the weights went."""
        weights = vector.to_vector(self.module)
        # This call is the first sign that the step before has ended.
        self._evidence.end_step(weights, unit=self._unit)
        self._parts = []
        super().step(examples, chosen)
        if self.options.linear:
            self._note(weights, chosen)
            return
        # As if the step had moved weights of zero by minus its noisy gradient.
        gradient = torch.cat([p.grad.flatten() for p in self.trained])
        self._note(torch.zeros_like(gradient), chosen)
        self._evidence.end_step(-gradient, unit=self._unit)

    def gradients(self, examples: Examples, chosen: Tensor) -> BatchGradients:
        """Returns the gradients of the real records chosen, then those of the probes."""
        is_real = chosen < len(examples)  # probes come after the records
        places = chosen[~is_real] - len(examples)
        rows_of_real, real = self._real_gradients(examples, chosen[is_real])
        self._parts.append(self._part(rows_of_real.double(), places))
        rows = self._rows(len(places))
        self._probes.write(rows, places)
        return real.joined(self.by_parameter(rows))

    def _rows(self, count: int) -> Tensor:
        """(count, d) zeros, in memory that is used again: fresh pages cost more than the sums."""
        if len(self._memory) < count:
            self._memory = torch.zeros(count + count // 4, sum(self._sizes))
        return self._memory[:count].zero_()

    def _real_gradients(self, examples: Examples, chosen: Tensor) -> tuple[Tensor, BatchGradients]:
        """Returns those of the records chosen, once as rows (k, d) that Opacus' hooks compute.

        The first record of a round is also taken alone: if its gradient changes with its batch,
        clipping it bounds nothing.
        """
        is_first_step = not self._evidence.rounds[-1].members
        alone = None
        if is_first_step and len(chosen) > 1:
            alone = self._first_of(super().gradients(examples, chosen[:1]))
        features = self._task.inputs(examples.features[chosen])
        weights = vector.to_vector(self.module)
        rows = self._reference.rows(weights, features, examples.labels[chosen])
        real = super().gradients(examples, chosen)
        if alone is not None:
            difference = float((self._first_of(real) - alone).norm())
            # Relative to the clip where the gradient is shorter: rounding of tiny ones is harmless.
            length = max(float(alone.norm()), self._clip)
            self._evidence.mixed = max(self._evidence.mixed, difference / length)
        return rows, real

    def _first_of(self, gradients: BatchGradients) -> Tensor:
        """Returns (d,), the gradient of the first example."""
        first = torch.zeros(gradients.n)
        first[0] = 1.0
        return self.flat_sum(gradients, first)

    def _part(self, real: Tensor, places: Tensor) -> PartSums:
        """Sums what enters the optimizer with one physical batch."""
        is_single = places < len(self._probes.members)
        singles = self._single_sums(places[is_single])
        dense = self._dense_sums(places[~is_single])
        records = gradient_sums(real, self._sizes, clip=self._clip)
        return PartSums(records + dense + singles, singles, dense)

    def _note(self, weights: Tensor, chosen: Tensor) -> None:
        """Notes the clipped sum of the step, and where other clippings would have gone."""
        total, singles, dense = reduce(operator.add, self._parts)
        factor = clip_factors(total.raw.norm(), self._clip)
        whole = total.raw * factor  # (d,) the clipped sum of unclipped gradients
        directions = {
            UNCLIPPED: total.raw - total.clipped,
            WHOLE: whole - total.clipped,
            TENSORS: total.by_tensor - total.clipped,
            LENGTH: total.clipped,
            ONE: singles.clipped,
            DENSE: dense.clipped,
        }
        self._evidence.begin_step(weights, chosen, total.clipped, directions)

    def _single_sums(self, places: Tensor) -> Sums:
        """Sums over the canaries of one coordinate at places (k,).

        Each lies in a single tensor, so that clipping it by tensor is clipping it.
        """
        members = self._probes.members[places]
        raw = torch.zeros(sum(self._sizes), dtype=torch.float64)
        coordinates = self._probes.coordinates[members]
        raw[coordinates] = self._probes.norm * self._probes.signs[members]
        norm = torch.tensor(self._probes.norm, dtype=torch.float64)
        clipped = raw * clip_factors(norm, self._clip)
        return Sums(clipped, raw, clipped)

    def _sums_of_groups(self) -> Sums:
        """What one record of each dense gradient adds to a sum, (groups, d) each."""
        groups = torch.arange(len(self._probes.dense))
        rows = self._probes.dense_gradients(groups).double()  # (groups, d)
        if not len(rows):
            return Sums(rows, rows, rows)
        sums = [gradient_sums(row[None], self._sizes, clip=self._clip) for row in rows]
        return Sums(
            clipped=torch.stack([each.clipped for each in sums]),
            raw=torch.stack([each.raw for each in sums]),
            by_tensor=torch.stack([each.by_tensor for each in sums]),
        )

    def _dense_sums(self, places: Tensor) -> Sums:
        """Sums over the dense canaries at places (k,), which count the single ones as well."""
        places_of_dense = places - len(self._probes.members)
        groups = places_of_dense // RECORDS_PER_DENSE
        counts = torch.bincount(groups, minlength=len(self._probes.dense)).double()  # (groups,)
        return Sums(
            clipped=counts @ self._of_groups.clipped,
            raw=counts @ self._of_groups.raw,
            by_tensor=counts @ self._of_groups.by_tensor,
        )
