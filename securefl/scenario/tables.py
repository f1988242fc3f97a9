"""The tables of a scenario: their keys, types, ranges and safe defaults."""

import math
from collections.abc import Mapping
from fractions import Fraction
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

# Counts, client ids and seeds fit the fields of the wire formats and the streams they name.
MAX_COUNT = 2**31 - 1
# Begins the name of an object that lives in one process only, see plugins/objects.py.
OBJECT_PREFIX = "object:"
Count = Annotated[int, Field(ge=1, le=MAX_COUNT, strict=True)]
Index = Annotated[int, Field(ge=0, le=2**31 - 1, strict=True)]
Seed = Annotated[int, Field(ge=0, le=2**63 - 1, strict=True)]
DEFAULT_TEST_DELTA = 1e-5
# Outside these limits something else was meant, such as a rate in percent.
Moderate = Annotated[float, Field(ge=1e-6, le=1e6, strict=True)]


class Section(BaseModel):
    """A table of the scenario; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Choice(BaseModel):
    """A name and the parameters of what it names, which the catalog checks."""

    model_config = ConfigDict(frozen=True, extra="allow")

    @cached_property
    def parameters(self) -> Mapping[str, Any]:
        """The hyper-parameters: every key that is not declared here."""
        return dict(self.model_extra or {})


def named(value: object) -> object:
    """Returns the table that a bare name abbreviates; anything else as it is."""
    return {"name": value} if isinstance(value, str) else value


def _infinity(value: object) -> object:
    # JSON has no infinity: resolved.json holds the word.
    return math.inf if value == "inf" else value


class Code(Section):
    """Identifies code of somebody else's that a scenario runs; filled in, and compared later.

    For files: the hash of their names and bytes, their names, and the versions of the packages that
    they import. For an installed package: its version.
    """

    sha256: str | None = None
    files: tuple[str, ...] = ()
    packages: dict[str, str] = {}
    version: str | None = None


class Named(Choice):
    """A bare name, or a table of a name and the parameters of what it names."""

    name: str


class Model(Named):
    """The model, and what happens to it before training.

    auto chooses by public numbers: logistic for records that are no images, and scattering for
    images. The grid of its features is then chosen, too, as by pooling = "auto": 1, 3 or 7, by the
    training records of all clients times privacy.epsilon (docs/scattering.md). resolved.json holds
    what was chosen.

    batch_norm = "group" replaces each batch norm by a group norm, which training with noise needs.
    train lists the parameters that train, by patterns such as "head.*". All others keep their
    initial values and never travel, and modules without any that trains run in evaluation mode.

    weights is a safetensors file of initial weights, by name. Under a DP claim it needs
    public_weights = true, which declares that no record of this federation shaped them.
    weights_sha256 is the file's hash, filled in; a file with another one is refused.
    """

    batch_norm: Literal["group"] | None = None
    train: tuple[str, ...] | None = None
    weights: str | None = None
    public_weights: Annotated[bool, Field(strict=True)] | None = None
    weights_sha256: str | None = None


class Privacy(Section):
    """The claim, its budget and public constants; epsilon = inf claims nothing.

    unit is what the claim protects: example, one training record, or client, everything that one
    client trains on. place says who adds noise, and so whom the claim holds against
    (docs/privacy-units.md): local, each client to what it sends; distributed, all clients in
    shares; central, whoever opens the sum.

    noise_multiplier is the deviation of the noise over the most that one protected unit changes;
    without it, noise is calibrated to epsilon. At place = "local" it is the noise of each step, sum
    or update of one client, and at "central" that of the opened sum. At "distributed" it is the
    noise of the n_min shares that count, together; a sum with everybody's shares has more.
    `securefl privacy epsilon --shares` takes the same two numbers, and `securefl validate` prints
    them.

    noise = "seeded" draws noise from the scenario's seed: it repeats, and hides nothing from those
    who have the seed. records declares how many training records each client has.
    """

    unit: str = "example"
    place: str = "local"
    epsilon: Annotated[float, Field(gt=0, strict=True), BeforeValidator(_infinity)] = 8.0
    delta: Annotated[float, Field(ge=1e-14, lt=1, strict=True)] = 1e-5
    noise: Literal["system", "seeded"] = "system"
    noise_multiplier: Annotated[float, Field(ge=0.1, le=1e4, strict=True)] | None = None
    records: tuple[Count, ...] | None = None


class Practice(Section):
    """How training treats the records; a value that is not so is refused.

    The refusal names the mistake that the value would be. sampling is poisson for dp_sgd and
    shuffled for sgd. normaliser, the divisor of a sum of gradients, is declared (a public constant)
    or batch. batches are all kept, however small or large. statistics of the records that training
    uses (feature ranges, class weights, prior) are public: training.class_weights are declared,
    never counted. layers are the layers of the model that
    have weights.
    """

    sampling: str | None = None
    normaliser: str | None = None
    batches: str | None = None
    statistics: str | None = None
    layers: tuple[str, ...] | None = None


class Cohort(Section):
    """The number of clients whose updates make a round, drawn at random; all by default.

    over_select invites so many times as many clients, rounded up, and takes the first `size` that
    are ready on the simulated clock. deadline is the simulated time after which a round waits for
    nobody. Both need simulate.speed. Whoever is discarded has trained, and paid for it.

    sampling = "poisson" is for privacy.unit = "client". Every client is invited to every round and
    tosses a secret coin of probability size / clients; whoever is out sends zeros, in a message
    like all others. size is the expected number of clients in a round then.
    """

    size: Count
    over_select: Annotated[float, Field(ge=1, le=1000, strict=True)] | None = None
    deadline: Count | None = None
    sampling: Literal["poisson"] | None = None

    @property
    def invited(self) -> int:
        """Clients that a round invites."""
        # In decimals, as it was written: 10 x 1.1 is 11, which binary fractions exceed.
        return math.ceil(self.size * Fraction(repr(self.over_select or 1)))


class Channel(Section):
    """How updates travel, and the fewest updates that make a round.

    For masked: bits of a word (ring), the bound on one coordinate (clip), the rounding to words,
    the clients of one sum that may be corrupt, and the largest weight where clients report theirs.
    For ckks: clip and max_weight.

    For masked, too: reveal_counts = true says that weights = "reported" may show the server the
    record count of each client. secrets are drawn by members in the set-up, to deal cohorts above
    128 into blocks. They come from the system's generator, or from the scenario's seed: then a run
    deals the same blocks again, and everybody who has the seed knows the blocks beforehand.

    groups divides the clients of a masked round into so many sums, whose means are the rows of a
    rule. regroup = "each_round" deals them anew in each round, which gives single clients away in
    the long run; by default the same clients meet in all rounds.

    sketch = k, also for masked, lets defense.rule choose the clients of the sum: by the distances
    between random sketches of k numbers, which clients deal in shares (docs/sketches.md); 64 is a
    usual choice. Up to defense.rule.f clients may then lie, and up to corrupt may work together
    with the server. With secrets = "seeded" a run chooses the same clients again where its noise,
    if any, is seeded, too (privacy.noise), and everybody who has the seed knows the random matrices
    beforehand, by which a lie can be made that nobody sees.
    """

    kind: str = "plain"
    min_cohort: Count | None = None
    ring: Literal[16, 32, 64] | None = None
    clip: Moderate | None = None
    rounding: Literal["nearest", "stochastic"] | None = None
    corrupt: Count | None = None
    max_weight: Count | None = None
    secrets: Literal["system", "seeded"] | None = None
    reveal_counts: Annotated[bool, Field(strict=True)] | None = None
    groups: Count | None = None
    regroup: Literal["never", "each_round"] | None = None
    sketch: Annotated[int, Field(ge=16, le=1024, strict=True)] | None = None


# The keys of [channel] that only some kinds of channels take.
OPTIONS_OF_CHANNELS = tuple(
    key for key in Channel.model_fields if key not in ("kind", "min_cohort")
)


class Defense(Section):
    """Pre-filters in their order, then one rule.

    Behind a pre-filter all rows count the same, whatever the weights.
    """

    prefilters: tuple[
        Annotated[Named, BeforeValidator(named, json_schema_input_type=str | Named)], ...
    ] = ()
    rule: Annotated[Named, BeforeValidator(named, json_schema_input_type=str | Named)] = Named(
        name="mean"
    )


class Attack(Named):
    """The clients that are corrupt, what they know, and what they send.

    knows is own (the honest updates of the corrupt clients) or omniscient (the updates of all
    others, too, which no channel shows them: a fiction, for the worst case).
    """

    clients: Annotated[tuple[Index, ...], Field(min_length=1)]
    knows: Literal["own", "omniscient"] = "own"


class Rehearsal(Section):
    """Trains a client on other records than its own, for audits.

    Each of its records comes in by a fair coin, and as many test records by one each. An attacker
    that tells which records came in has learned something. seed decides the coins, each record's
    with its content. The scores of such a run on test records mean nothing.
    """

    client: Index = 0
    seed: Seed = 0


class Engine(Section):
    """How a run is computed; this changes results by rounding alone.

    stack is the number of clients that train at once, as one network of their models: small models
    then take fewer calls. "auto" takes as many as pay, which may be none. Clients train one at a
    time where their model or the steps cannot be stacked; the run's metrics say why.

    device is where models train and are evaluated: cpu (unless it is given) or cuda, one NVIDIA
    GPU. Records, noise and everything that travels stay on the CPU. A run on cuda trains in one
    process, without workers.
    """

    stack: Literal["auto", "off"] | Annotated[int, Field(ge=2, le=4096, strict=True)] | None = None
    device: Literal["cpu", "cuda"] | None = None


class Evaluate(Section):
    """When the global model is evaluated on the test records.

    every = n evaluates it after every n-th round, and always after the last one; unless it is
    given, after each round. The records of all other rounds say that they were not evaluated.
    256 records at a time pass through the model, however many there are.

    leave is for models between sites, whose test records stay where they are (docs/deploy.md). It
    says what leaves about them: never, nothing; sums, sums of counts over all sites, which are not
    private; noisy, such sums under Gaussian noise, for which each site pays. epsilon and delta
    (1e-5 unless it is given) are the price of all noisy figures of the run together.

    keep = "best" ends the run with the model of the highest accuracy (real targets: the lowest
    RMSE) of all that were evaluated, the earliest of equals. Validation records must judge, since
    the result on records that choose a model is too good. Without keep it is the last model.
    """

    every: Count | None = None
    keep: Literal["best"] | None = None
    leave: Literal["never", "sums", "noisy"] | None = None
    epsilon: float | None = None
    delta: float | None = None

    @property
    def price(self) -> tuple[float, float]:
        """Epsilon and delta of all noisy figures together; infinite without noise."""
        return self.epsilon or math.inf, self.delta or DEFAULT_TEST_DELTA


class Server(Choice):
    """The server's step."""

    step: str = "fedavg"
