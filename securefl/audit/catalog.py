"""What audits take from the attacks: the only file of theirs that knows them by name."""

from attacks.audit import Errors as Errors
from attacks.audit import clopper_pearson_epsilon as clopper_pearson_epsilon
from attacks.audit import correct_guesses as correct_guesses
from attacks.audit import errors_at as errors_at
from attacks.audit import gaussian_mu as gaussian_mu
from attacks.audit import one_run as one_run
from attacks.audit import one_run_f as one_run_f
from attacks.audit import one_run_mu as one_run_mu
from attacks.audit import rates_at_most as rates_at_most
from attacks.federated_membership import trajectory as trajectory
from attacks.federated_membership import update_alignment as update_alignment
from attacks.membership import confidence as confidence
from attacks.membership import label_only as label_only
from attacks.membership import lira_offline as lira_offline
from attacks.membership import lira_online as lira_online
from attacks.membership import loss_threshold as loss_threshold
from attacks.rmia import rmia as rmia
from attacks.rmia import rmia_population as rmia_population
from attacks.scores import Interval as Interval
from attacks.scores import Operating as Operating
from attacks.scores import Roc as Roc
from attacks.scores import at_false_positive_rate as at_false_positive_rate
from attacks.scores import auc as auc
from attacks.scores import auc_error as auc_error
from attacks.scores import clopper_pearson as clopper_pearson
from attacks.scores import roc as roc
