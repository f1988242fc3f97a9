"""Times the SecAgg+ stages of the `flwr` package in isolation, without a network.

Each command runs one stage function of the package and prints one line of JSON. The other parties'
earlier work is prepared outside the timed region.

    python flower_secagg.py mask   --words 11000000 --neighbours 100
    python flower_secagg.py share  --clients 100
    python flower_secagg.py unmask --clients 101 --dropped 10 --words 11000000

`unmask --verify` runs the real client stages first (slow: for small cases) and reports the error of
the average.
"""

import argparse
import json
import logging
import os
import resource
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.client.mod.secure_aggregation.secaggplus_mod import SecAggPlusState as State
from flwr.client.mod.secure_aggregation.secaggplus_mod import (
    _collect_masked_vectors,
    _setup,
    _share_keys,
    _unmask,
)
from flwr.common import bytes_to_ndarray, ndarrays_to_parameters, parameters_to_ndarrays
from flwr.common.secure_aggregation.crypto.shamir import create_shares
from flwr.common.secure_aggregation.crypto.symmetric_encryption import encrypt, generate_shared_key
from flwr.common.secure_aggregation.ndarrays_arithmetic import parameters_addition, parameters_mod
from flwr.common.secure_aggregation.secaggplus_constants import RECORD_KEY_CONFIGS, Key
from flwr.common.secure_aggregation.secaggplus_utils import share_keys_plaintext_concat
from flwr.server.workflow.constant import MAIN_CONFIGS_RECORD
from flwr.server.workflow.constant import Key as WorkflowKey
from flwr.server.workflow.secure_aggregation.secaggplus_workflow import (
    SecAggPlusWorkflow,
    WorkflowState,
)
from flwr.supercore.primitives.asymmetric import bytes_to_private_key, bytes_to_public_key
from flwr.supercore.task_identity import TaskIdentity

DEFAULTS = SecAggPlusWorkflow(num_shares=1.0, reconstruction_threshold=0.5)
REPEATS = 5  # of the masking stage, within one process; the median is printed
EXAMPLES = 600  # weight of every client; the workflow's default max_weight is 1000


class Timed(NamedTuple):
    """The result of a call, and the seconds that it took."""

    result: Any
    cpu: float
    wall: float


class Stage(NamedTuple):
    """One stage: its seconds, and the sizes that go with them."""

    cpu_s: float
    wall_s: float
    sizes: dict[str, float]


def timed(call: Callable[[], Any]) -> Timed:
    """Runs `call` once, and measures CPU seconds of the process and wall seconds."""
    wall_start = time.perf_counter()
    cpu_start = time.process_time()
    result = call()
    return Timed(result, time.process_time() - cpu_start, time.perf_counter() - wall_start)


def set_up_clients(clients: int) -> dict[int, State]:
    """Plays Flower's set-up stage (two key pairs each) for all clients of a complete graph."""
    config = {
        Key.SAMPLE_NUMBER: clients,
        Key.SHARE_NUMBER: clients,
        Key.THRESHOLD: clients // 2 + 1,
        Key.CLIPPING_RANGE: DEFAULTS.clipping_range,
        Key.TARGET_RANGE: DEFAULTS.quantization_range,
        Key.MOD_RANGE: DEFAULTS.modulus_range,
        Key.MAX_WEIGHT: DEFAULTS.max_weight,
    }
    states = {}
    for nid in range(1, clients + 1):
        states[nid] = State(nid=nid)
        _setup(states[nid], ConfigRecord(config))
    return states


def key_config(states: dict[int, State]) -> ConfigRecord:
    """Returns the message with all public keys, which opens the share stage."""
    return ConfigRecord({str(nid): [s.pk1, s.pk2] for nid, s in states.items()})


def mask(words: int, neighbours: int) -> Stage:
    """Times one client's masked-vector stage: decrypt shares, quantise, weight, mask, serialise."""
    states = set_up_clients(neighbours + 1)
    own = states[neighbours // 2 + 1]  # half of its pairwise masks are added, half subtracted
    own.public_keys_dict = {nid: (s.pk1, s.pk2) for nid, s in states.items()}
    own.rd_seed = os.urandom(32)
    # The stage only decrypts and stores the other clients' shares: shares of the right size do.
    seed_share = create_shares(own.rd_seed, 2, 2)[0]
    key_share = create_shares(own.sk1, 2, 2)[0]
    sources = []
    ciphertexts = []
    for nid, other in states.items():
        if nid == own.nid:
            continue
        secret = generate_shared_key(bytes_to_private_key(own.sk2), bytes_to_public_key(other.pk2))
        own.ss2_dict[nid] = secret
        sources.append(nid)
        plaintext = share_keys_plaintext_concat(nid, own.nid, seed_share, key_share)
        ciphertexts.append(encrypt(secret, plaintext))
    config = ConfigRecord({Key.CIPHERTEXT_LIST: ciphertexts, Key.SOURCE_LIST: sources})
    update = ndarrays_to_parameters(
        [np.random.default_rng(1).standard_normal(words, dtype=np.float32)]
    )
    runs = [
        timed(lambda: _collect_masked_vectors(own, config, EXAMPLES, update))
        for _ in range(REPEATS)
    ]
    upload = sum(len(part) for part in runs[0].result[Key.MASKED_PARAMETERS])
    return Stage(
        statistics.median(run.cpu for run in runs),
        statistics.median(run.wall for run in runs),
        {"upload_bytes": upload, "words": words, "neighbours": neighbours},
    )


def share(clients: int) -> Stage:
    """Times one client's share stage.

    It Shamir-shares two secrets, agrees on keys, and encrypts a share for each other client.
    """
    states = set_up_clients(clients)
    config = key_config(states)
    reply, cpu, wall = timed(lambda: _share_keys(states[1], config))
    upload = sum(len(text) for text in reply[Key.CIPHERTEXT_LIST])
    threshold = states[1].threshold
    sizes = {"upload_bytes": upload, "clients": clients, "threshold": threshold}
    return Stage(cpu, wall, sizes)


class LocalGrid:
    """Replaces the network: Flower's client code answers the server, and is timed apart."""

    def __init__(self, states: dict[int, State]) -> None:
        """Keeps the clients that will answer."""
        self.states = states
        self.cpu = 0.0
        self.wall = 0.0

    def send_and_receive(self, messages: list[Message], timeout: float | None = None) -> list[Any]:
        """Answers each request of the unmask stage with the shares that the client holds."""
        replies, self.cpu, self.wall = timed(
            lambda: [self._answer(message) for message in messages]
        )
        return list(replies)

    def _answer(self, message: Message) -> SimpleNamespace:
        """Runs the client's half of the unmask stage; wraps its answer like a received message."""
        nid = message.metadata.dst_node_id
        answer = _unmask(self.states[nid], message.content.config_records[RECORD_KEY_CONFIGS])
        content = RecordDict({RECORD_KEY_CONFIGS: ConfigRecord(answer)})
        return SimpleNamespace(
            content=content, metadata=SimpleNamespace(src_node_id=nid), has_error=lambda: False
        )


def deal_needed_shares(states: dict[int, State], dropped: set[int]) -> None:
    """Gives all clients the shares that the server will ask for.

    Those are shares of the present clients' seeds, and of the dropped clients' mask keys.
    """
    for nid, owner in states.items():
        secret = owner.sk1 if nid in dropped else os.urandom(32)
        shares = create_shares(secret, owner.threshold, owner.share_num)
        for holder, part in zip(states.values(), shares, strict=True):
            held = holder.sk1_share_dict if nid in dropped else holder.rd_seed_share_dict
            held[nid] = part


def run_client_stages(
    states: dict[int, State], dropped: set[int], words: int
) -> tuple[list[Any], np.ndarray]:
    """Runs the real share and masked-vector stages; returns the masked sum and the true average."""
    inbox: dict[int, tuple[list[int], list[bytes]]] = {nid: ([], []) for nid in states}
    for nid, state in states.items():
        reply = _share_keys(state, key_config(states))
        for target, text in zip(
            reply[Key.DESTINATION_LIST], reply[Key.CIPHERTEXT_LIST], strict=True
        ):
            inbox[target][0].append(nid)
            inbox[target][1].append(text)
    rng = np.random.default_rng(1)
    total: list[Any] = []
    plain = np.zeros(words)
    weights = 0
    for nid in states.keys() - dropped:
        config = ConfigRecord({Key.SOURCE_LIST: inbox[nid][0], Key.CIPHERTEXT_LIST: inbox[nid][1]})
        vector = rng.standard_normal(words, dtype=np.float32)
        examples = EXAMPLES + nid  # unequal weights, so that a wrong weighting would show
        reply = _collect_masked_vectors(
            states[nid], config, examples, ndarrays_to_parameters([vector])
        )
        arrays = [bytes_to_ndarray(part) for part in reply[Key.MASKED_PARAMETERS]]
        total = parameters_addition(total, arrays) if total else arrays
        plain = plain + examples * vector
        weights += examples
    return parameters_mod(total, DEFAULTS.modulus_range), plain / weights


def unmask(clients: int, dropped: int, words: int, verify: bool) -> Stage:
    """Times the server's unmask stage.

    It rebuilds the secrets, agrees on keys, makes and removes masks, and dequantises.
    """
    states = set_up_clients(clients)
    # Spread over the ids, as real drop-outs are.
    gone = set(range(1, clients + 1, max(1, clients // max(1, dropped)))[:dropped])
    expected: np.ndarray | None = None
    if verify:
        masked_sum, expected = run_client_stages(states, gone, words)
    else:
        # The stage does the same work whatever the numbers are.
        deal_needed_shares(states, gone)
        rng = np.random.default_rng(1)
        weight_of_one = round(EXAMPLES / DEFAULTS.max_weight * DEFAULTS.quantization_range)
        masked_sum = [
            np.array([weight_of_one * (clients - dropped)]),
            rng.integers(0, DEFAULTS.modulus_range, words, dtype=np.int64),
        ]
    fit_result = SimpleNamespace(parameters=None)
    server = WorkflowState(
        sampled_node_ids=set(states),
        active_node_ids=set(states) - gone,
        num_shares=clients,
        threshold=clients // 2 + 1,
        clipping_range=DEFAULTS.clipping_range,
        quantization_range=DEFAULTS.quantization_range,
        mod_range=DEFAULTS.modulus_range,
        nid_to_neighbours={nid: set(states) for nid in states},
        nid_to_publickeys={nid: [s.pk1, s.pk2] for nid, s in states.items()},
        aggregate_ndarrays=masked_sum,
        legacy_results=[(None, fit_result)],
    )
    del masked_sum
    context: Any = SimpleNamespace(
        state=SimpleNamespace(config_records={MAIN_CONFIGS_RECORD: {WorkflowKey.CURRENT_ROUND: 1}}),
        strategy=SimpleNamespace(aggregate_fit=lambda *_: (None, {})),
    )
    grid: Any = LocalGrid(states)
    # Messages carry the sender's identity.
    TaskIdentity.run_id = TaskIdentity.node_id = TaskIdentity.task_id = 1
    done, cpu, wall = timed(lambda: DEFAULTS.unmask_stage(grid, context, server))
    if not done:
        raise SystemExit("the unmask stage gave up: too few shares")
    sizes: dict[str, float] = {"clients": clients, "dropped": dropped, "words": words}
    sizes["threshold"] = server.threshold
    if expected is not None:
        average = parameters_to_ndarrays(fit_result.parameters)[0]
        sizes["max_error"] = float(np.abs(average - expected).max())
    # The clients' answers are not the server's work.
    return Stage(cpu - grid.cpu, wall - grid.wall, sizes)


def main() -> None:
    """Reads the command line, runs one measurement, prints it as one line of JSON."""
    parser = argparse.ArgumentParser(description="time one SecAgg+ stage of the flwr package")
    commands = parser.add_subparsers(dest="what", required=True)
    options = {
        "mask": ("words", "neighbours"),
        "share": ("clients",),
        "unmask": ("clients", "dropped", "words"),
    }
    for name, needed in options.items():
        command = commands.add_parser(name)
        for option in needed:
            command.add_argument(f"--{option}", type=int, required=True)
    commands.choices["unmask"].add_argument("--verify", action="store_true")
    arguments = vars(parser.parse_args())
    what = arguments.pop("what")
    logging.getLogger("flwr").setLevel(logging.ERROR)
    stages: dict[str, Callable[..., Stage]] = {"mask": mask, "share": share, "unmask": unmask}
    cpu, wall, sizes = stages[what](**arguments)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    peer = f"flwr {version('flwr')}"
    seconds = {"cpu_s": cpu, "wall_s": wall}
    print(json.dumps({"peer": peer, "what": what, **seconds, **sizes, "peak_rss_mib": memory}))


if __name__ == "__main__":
    main()
