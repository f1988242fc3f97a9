"""The table [training] of a scenario."""

from typing import Annotated

from pydantic import Field

from securefl.scenario.tables import Count, Moderate, Section


class Training(Section):
    """Local training: batch in records, clip the bound on a gradient's norm.

    With privacy.unit = "client", clip bounds the norm of a client's whole update instead. Given
    clip_quantile, clip is where an adaptive bound starts. It follows that quantile of the updates'
    norms, by up to clip_lr (0.2 unless it is given) a round.

    optimizer is sgd (unless it is given), adam or adamw, for dp_sgd as well: there it gets the
    noisy gradient. Its state starts afresh each round. momentum is for sgd; weight_decay for all.

    algorithm is fedavg unless it is given. fedprox pulls every step back to the global model with
    strength mu. scaffold, feddyn (alpha) and fednova are for clients with unlike records: they
    correct each client's steps by a state that it keeps, or count updates by the step. What they
    add to a step comes after clipping and noise.

    With fedbn, fedrep and ditto each site ends with a model of its own, and is judged with it. Norm
    layers stay at the site with fedbn. With fedrep the last layer does, or the parameters that fit
    the patterns in personal; it trains in the first head_epochs of all epochs. With ditto a second
    model does, which lam pulls towards the global one. fine_tune trains the last global model at
    each site for so many epochs more, with any other algorithm.

    ewc is for `securefl refine`. With so much strength it holds on to the parameters that mattered
    for the earlier version, by each site's own Fisher information. A DP claim needs fisher_noise,
    the noise multiplier of that information.

    schedule changes lr from round to round: constant (unless it is given), cosine (towards 0 at the
    end of all rounds) or step (times step_factor each time step_every rounds are over, or once each
    number of rounds in step_at is over).

    class_weights has a factor for each class, which scales the loss of its records; where records
    have several labels, that of the label where a record has it. Under a claim they are declared
    like every other constant: weights that were counted from the records would be a release.

    kind = "clipped_gradient" adds up each record's clipped gradient, once a round, and the server
    takes the step: with lr and its schedule, momentum, weight_decay, and ema, the decay of a moving
    average of its models, which then is the model of the run. It takes all records, or each with
    probability sample_rate, by coins of its site. It has no batch and no epochs.

    physical_batch is how many records pass through the model at once. The step is the same up to
    rounding: this bounds memory, also where batches are drawn at random. Batch norm, however, sees
    one physical batch at a time.
    """

    kind: str = "dp_sgd"
    batch: Count = 32
    epochs: Count = 1
    lr: Moderate = 0.5
    clip: Moderate = 1.0
    clip_quantile: Annotated[float, Field(gt=0, lt=1, strict=True)] | None = None
    clip_lr: Annotated[float, Field(gt=0, le=10, strict=True)] | None = None
    optimizer: str | None = None
    momentum: Annotated[float, Field(ge=0, lt=1, strict=True)] | None = None
    weight_decay: Annotated[float, Field(ge=0, le=1, strict=True)] | None = None
    algorithm: str | None = None
    mu: Annotated[float, Field(ge=0, le=1e3, strict=True)] | None = None
    alpha: Annotated[float, Field(ge=1e-6, le=1e3, strict=True)] | None = None
    lam: Annotated[float, Field(ge=0, le=1e3, strict=True)] | None = None
    head_epochs: Count | None = None
    personal: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    fine_tune: Count | None = None
    strength: Annotated[float, Field(ge=0, le=1e9, strict=True)] | None = None
    fisher_noise: Annotated[float, Field(ge=0.1, le=1e4, strict=True)] | None = None
    schedule: str | None = None
    step_every: Count | None = None
    step_at: Annotated[tuple[Count, ...], Field(min_length=1, max_length=100)] | None = None
    step_factor: Annotated[float, Field(ge=1e-6, le=1, strict=True)] | None = None
    class_weights: tuple[Moderate, ...] | None = None
    physical_batch: Count | None = None
    sample_rate: Annotated[float, Field(ge=1e-6, lt=1, strict=True)] | None = None
    ema: Annotated[float, Field(gt=0, lt=1, strict=True)] | None = None
