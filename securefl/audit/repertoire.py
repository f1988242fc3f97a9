"""The attacks and checks that audits have, by the names under which findings show them.

Importing this loads no attack: a document lists here what an audit could not run.
"""

from typing import NamedTuple

MEMBERS = "members"
TRAINING = "training"
UPDATES = "updates"

LOSS_THRESHOLD = "loss threshold"
LABEL_ONLY = "label only"
LIRA = "LiRA"
OFFLINE_LIRA = "offline LiRA"
RMIA = "RMIA"
GLOBAL_TRAJECTORY = "trajectory of the global models"
LOCAL_TRAJECTORY = "trajectory of the local models"
UPDATE_ALIGNMENT = "alignment with its updates"
SUM_ALIGNMENT = "alignment with sums or steps"
BLIND = "membership"  # of an adversary that sees nothing

CANARIES = "gradient canaries"  # behind their number, where some were used
SIZE = "size of the noise"
FRESH = "freshness of the noise"
CLIP = "clipping of each example"
BATCHES = "Poisson batches"
BOOKS = "booked steps"
MECHANISM = (SIZE, FRESH, CLIP, BATCHES, BOOKS)  # all five hold before a claim is said to hold
INSIDE = "DP-SGD from inside"  # in place of these five, where steps are not seen
SUM_NOISE = "noise of each sum"

EXPOSED = "what updates show"  # in place of all attacks on updates
RECONSTRUCTION = "reconstruction"  # in place of those that look for records
FIRST_LAYER = "analytic leakage of the first layer"
FIXED_FEATURES = "analytic leakage of fixed features"
INVERTING = "Inverting Gradients"
IMPRINT = "imprint before the model"
LABELS = "labels"
PROPERTY = "property"
SOURCE = "source"

_DIGITS = "0123456789"


class Known(NamedTuple):
    """An attack or a check that audits have.

    Attributes:
        names: in findings; the first one names it by itself.
        about: `MEMBERS`, `TRAINING` or `UPDATES`.
        does: what it does, after "It".
        needs: everything without which it cannot be run.
        instead: names of lines that findings have in its place, where it could not be run.
    """

    names: tuple[str, ...]
    about: str
    does: str
    needs: str
    instead: tuple[str, ...] = ()

    def is_in(self, attack: str) -> bool:
        """Whether findings speak of this one under such a name."""
        return attack.lstrip(_DIGITS).lstrip() in self.names


_TAKEN = "takes a record for one that was trained on if"
_MODELS = "answers of the run's final model, and rehearsals to compare it with (--shadows)"

REPERTOIRE = (
    Known(
        (LOSS_THRESHOLD,),
        MEMBERS,
        f"{_TAKEN} the final model predicts it well",
        "answers of a final model",
        (BLIND,),
    ),
    Known(
        (LABEL_ONLY,),
        MEMBERS,
        f"{_TAKEN} the final model still predicts its label after small changes of the record",
        "answers of a final model",
        (BLIND,),
    ),
    Known(
        (LIRA,),
        MEMBERS,
        "compares the final model with rehearsals that had the record and with others that did not",
        _MODELS,
        (BLIND,),
    ),
    Known(
        (OFFLINE_LIRA,),
        MEMBERS,
        "compares the final model with rehearsals that did not have the record",
        _MODELS,
        (BLIND,),
    ),
    Known(
        (RMIA,),
        MEMBERS,
        "compares how much a record and many others gained by the training",
        f"{_MODELS}, and records of other clients",
        (BLIND,),
    ),
    Known(
        (GLOBAL_TRAJECTORY,),
        MEMBERS,
        f"{_TAKEN} the global models of all rounds predict it well",
        "the global models",
        (BLIND,),
    ),
    Known(
        (LOCAL_TRAJECTORY,),
        MEMBERS,
        f"{_TAKEN} the client's own models of all rounds predict it well",
        "every update of the client by itself",
        (BLIND,),
    ),
    Known(
        (UPDATE_ALIGNMENT, SUM_ALIGNMENT),
        MEMBERS,
        f"{_TAKEN} the updates went where this record pulls the model",
        "updates, sums of updates, or steps between models",
        (BLIND,),
    ),
    Known(
        (CANARIES,),
        TRAINING,
        "looks for artificial records, put in by coins, which are easier to find than real ones",
        "a claim, weights or updates, and a model of 1,000 coordinates or more",
        (BLIND,),
    ),
    Known(
        (INSIDE, *MECHANISM),
        TRAINING,
        "measures noise, clipping, batches and steps where the client adds them",
        "a claim by DP-SGD, and every update of the client by itself",
        (BLIND,),
    ),
    Known(
        (SUM_NOISE,),
        TRAINING,
        "compares the noise in an opened sum with the noise that was booked",
        "a claim by one clipped sum a round with noise of the whole sum, and a sum that is seen",
        (BLIND,),
    ),
    Known(
        (FIRST_LAYER, FIXED_FEATURES),
        UPDATES,
        "reads records from the update of the layer that they enter",
        "an update or a sum, and a layer that is linear in the record",
        (RECONSTRUCTION, EXPOSED),
    ),
    Known(
        (INVERTING,),
        UPDATES,
        "searches for images whose training would give the same update",
        "an update or a sum of images, by weights that are known",
        (RECONSTRUCTION, EXPOSED),
    ),
    Known(
        (IMPRINT,),
        UPDATES,
        "hands out a model that is made to copy records into updates",
        "an adversary that chooses the model and may break the protocol",
    ),
    Known(
        (LABELS,),
        UPDATES,
        "counts the labels behind an update",
        "an update or a sum, by weights that are known",
        (EXPOSED,),
    ),
    Known(
        (PROPERTY,),
        UPDATES,
        "tells whether the rarest class is frequent among the records behind updates",
        "an update or a sum, by weights that are known",
        (LABELS, EXPOSED),
    ),
    Known(
        (SOURCE,),
        UPDATES,
        "tells which client a record came from",
        "updates of several clients, each by itself",
        (EXPOSED,),
    ),
)


def known(attack: str) -> Known | None:
    """Returns what audits know of the attack that findings name so; None for another's."""
    return next((one for one in REPERTOIRE if one.is_in(attack)), None)
