"""Name -> entry: the only tables, and the only ones of attacks and defenses.

Values are literals: `securefl ls` reads this text instead of importing it (`ui/sources.py`).
"""

from collections.abc import Mapping

import attacks
import defenses
from securefl.channels.apart import Apart
from securefl.channels.ckks.build import CKKS
from securefl.channels.kind import Kind
from securefl.channels.masking.build import MASKED, MASKED_APART
from securefl.channels.plain import PLAIN, PLAIN_APART
from securefl.data.entries import DATA as DATA
from securefl.data.entries import DEALS as DEALS
from securefl.data.entries import DEFAULT_CLIENTS as DEFAULT_CLIENTS
from securefl.data.entries import DataEntry as DataEntry
from securefl.data.own.forms import FORMS
from securefl.federation.values import Screen
from securefl.learning import options, steps
from securefl.learning.algorithms import steps as changes
from securefl.learning.algorithms.ditto import Ditto
from securefl.learning.algorithms.ewc import Ewc
from securefl.learning.algorithms.feddyn import FedDyn
from securefl.learning.algorithms.fednova import FedNova
from securefl.learning.algorithms.parts import head, norm_layers
from securefl.learning.algorithms.personal import Personal
from securefl.learning.algorithms.scaffold import Scaffold
from securefl.scenario.entries import (
    AlgorithmEntry,
    AttackEntry,
    OptimizerEntry,
    PrefilterEntry,
    RuleEntry,
    ScheduleEntry,
    Sees,
    StepEntry,
)
from securefl.scenario.models import MODELS as MODELS
from securefl.scenario.topologies import TOPOLOGIES as TOPOLOGIES
from securefl.scenario.trainers import TRAINERS as TRAINERS

OWN_DATA = FORMS  # of a user's own records

RULES: Mapping[str, RuleEntry] = {
    "mean": RuleEntry(
        defenses.mean, provided=("weights",), weighted=True, linear=True, around=defenses.gossip
    ),
    "median": RuleEntry(defenses.median),
    "trimmed_mean": RuleEntry(
        defenses.trimmed_mean,
        minimum_rows=defenses.trimmed_mean_minimum_rows,
        around=defenses.trimmed_neighbors,
    ),
    "meamed": RuleEntry(defenses.meamed, minimum_rows=defenses.trimmed_mean_minimum_rows),
    "krum": RuleEntry(
        defenses.krum, minimum_rows=defenses.krum_minimum_rows, weigh=defenses.krum_weights
    ),
    "multi_krum": RuleEntry(
        defenses.multi_krum,
        minimum_rows=defenses.krum_minimum_rows,
        weigh=defenses.multi_krum_weights,
        choose=defenses.multi_krum_choice,
    ),
    "bulyan": RuleEntry(defenses.bulyan, minimum_rows=defenses.bulyan_minimum_rows),
    "geometric_median": RuleEntry(
        defenses.geometric_median, weigh=defenses.geometric_median_weights
    ),
    "centered_clipping": RuleEntry(defenses.centered_clipping, provided=("start",)),
    "mda": RuleEntry(
        defenses.mda,
        minimum_rows=defenses.mda_minimum_rows,
        weigh=defenses.mda_weights,
        choose=defenses.mda_choice,
    ),
    "dnc": RuleEntry(
        defenses.dnc,
        minimum_rows=defenses.mda_minimum_rows,
        weigh=defenses.dnc_weights,
        choose=defenses.dnc_choice,
    ),
    # Of peers only: around a row of one's own.
    "nna": RuleEntry(
        defenses.nna, minimum_rows=defenses.nna_minimum_rows, around=defenses.nna, all_to_all=True
    ),
    "monna": RuleEntry(
        defenses.nna,
        minimum_rows=defenses.nna_minimum_rows,
        around=defenses.nna,
        momentum=0.9,
        all_to_all=True,
    ),
    "self_centered_clipping": RuleEntry(
        defenses.self_centered_clipping,
        minimum_rows=defenses.self_centered_clipping_minimum_rows,
        around=defenses.self_centered_clipping,
    ),
}

PREFILTERS: Mapping[str, PrefilterEntry] = {
    "nearest_neighbor_mixing": PrefilterEntry(
        defenses.nearest_neighbor_mixing, minimum_rows=defenses.mda_minimum_rows
    ),
    "adaptive_clipping": PrefilterEntry(
        defenses.adaptive_clipping, minimum_rows=defenses.mda_minimum_rows
    ),
    "clip_norms": PrefilterEntry(defenses.clip_norms),
}

ATTACKS: Mapping[str, AttackEntry] = {
    # On the rows that are sent, by corrupt clients that look at their own rows only.
    "sign_flip": AttackEntry(attacks.sign_flip),
    "gaussian": AttackEntry(attacks.gaussian, needs=("generator",)),
    # On the rows that are sent, by what the adversary knows of honest rows.
    "zero": AttackEntry(attacks.zero, sees=Sees.KNOWN, needs=("f",)),
    "non_finite": AttackEntry(attacks.non_finite, sees=Sees.KNOWN, needs=("f",)),
    "inner_product": AttackEntry(attacks.inner_product, sees=Sees.KNOWN, needs=("f",)),
    "a_little_is_enough": AttackEntry(
        attacks.a_little_is_enough, sees=Sees.KNOWN, needs=("f", "n"), several=True
    ),
    "min_max": AttackEntry(attacks.min_max, sees=Sees.KNOWN, needs=("f",), several=True),
    "min_sum": AttackEntry(attacks.min_sum, sees=Sees.KNOWN, needs=("f",), several=True),
    "mimic": AttackEntry(attacks.mimic, sees=Sees.KNOWN, needs=("f",), several=True),
    "fang_krum": AttackEntry(
        attacks.fang_krum, sees=Sees.KNOWN, needs=("f", "krum"), omniscient=True, against="krum"
    ),
    "fang_trimmed_mean": AttackEntry(
        attacks.fang_trimmed_mean, sees=Sees.KNOWN, needs=("f", "generator"), several=True
    ),
    "adaptive": AttackEntry(
        attacks.adaptive, sees=Sees.KNOWN, needs=("f", "rule"), omniscient=True
    ),
    "adaptive_weight": AttackEntry(
        attacks.adaptive_weight, sees=Sees.KNOWN, needs=("f", "weigh"), omniscient=True
    ),
    # On the records of corrupt clients.
    "label_flip": AttackEntry(records=attacks.label_flip, needs=("classes",)),
    "targeted_label_flip": AttackEntry(
        records=attacks.targeted_label_flip, goal=attacks.flip_goal, needs=("classes",)
    ),
    "backdoor": AttackEntry(
        records=attacks.backdoor, goal=attacks.backdoor_goal, needs=("classes", "generator")
    ),
    "distributed_backdoor": AttackEntry(
        records=attacks.distributed_backdoor,
        goal=attacks.backdoor_goal,
        needs=("classes", "generator", "part"),
    ),
    # On several of them at once.
    "model_replacement": AttackEntry(
        attacks.boosted,
        attacks.backdoor,
        goal=attacks.backdoor_goal,
        needs=("classes", "generator"),
    ),
    "constrain_and_scale": AttackEntry(
        attacks.boosted,
        attacks.backdoor,
        attacks.anchored,
        goal=attacks.backdoor_goal,
        needs=("classes", "generator"),
    ),
}


OPTIMIZERS: Mapping[str, OptimizerEntry] = {
    "sgd": OptimizerEntry(options.sgd),
    "adam": OptimizerEntry(options.adam, usual_lr=1e-3),
    "adamw": OptimizerEntry(options.adamw, usual_lr=1e-3),
}
DEFAULT_OPTIMIZER = "sgd"

ALGORITHMS: Mapping[str, AlgorithmEntry] = {
    "fedavg": AlgorithmEntry(changes.fedavg),
    "fedprox": AlgorithmEntry(changes.fedprox, adds=True),
    "scaffold": AlgorithmEntry(
        changes.scaffold,
        adds=True,
        provided=("corrections",),
        make=Scaffold,
        corrects=True,
        stepwise=True,
        steps=(steps.fedavg,),
    ),
    "feddyn": AlgorithmEntry(
        changes.feddyn,
        adds=True,
        provided=("corrections",),
        make=FedDyn,
        corrects=True,
        stepwise=True,
        equal=True,
        steps=(steps.fedavg,),
        adds_estimate=True,
    ),
    "fednova": AlgorithmEntry(changes.fednova, make=FedNova, stepwise=True),
    "fedbn": AlgorithmEntry(changes.fedbn, make=Personal, personal=norm_layers),
    "fedrep": AlgorithmEntry(
        changes.fedrep,
        adds=True,
        provided=("corrections", "epochs"),
        make=Personal,
        corrects=True,
        personal=head,
    ),
    "ditto": AlgorithmEntry(changes.ditto, make=Ditto, pulled=True),
    "ewc": AlgorithmEntry(
        changes.ewc, adds=True, provided=("corrections",), make=Ewc, corrects=True, anchored=True
    ),
}
DEFAULT_ALGORITHM = "fedavg"

SCHEDULES: Mapping[str, ScheduleEntry] = {
    "constant": ScheduleEntry(options.constant),
    "cosine": ScheduleEntry(options.cosine, provided=("rounds",)),
    "step": ScheduleEntry(options.step),
}
DEFAULT_SCHEDULE = "constant"

STEPS: Mapping[str, StepEntry] = {
    "fedavg": StepEntry(
        steps.fedavg, adds_estimate=lambda parameters: parameters.get("lr", 1) == 1
    ),
    "fedavgm": StepEntry(steps.fedavgm),
    "fedadam": StepEntry(steps.fedadam),
    "fedyogi": StepEntry(steps.fedyogi),
    "fedadagrad": StepEntry(steps.fedadagrad),
}

CHANNELS: Mapping[str, Kind] = {"plain": PLAIN, "masked": MASKED, "ckks": CKKS}

# Those of them that run between sites: nobody but the server opens a sum.
APART: Mapping[str, Apart] = {"plain": PLAIN_APART, "masked": MASKED_APART}

SCREEN: Screen = defenses.screen
