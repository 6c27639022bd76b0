"""What others' ways to hide updates cost beside a plain mean: Flower's masks, TenSEAL as FLARE uses it.

    python -m benchmarks.secure_aggregation_peers [--sites 5] [--parameters 1000000] [--repeats 1] [--json]

Optional: measures what is installed (`flwr`, `tenseal`), best in an environment of its own. CPU seconds of the process.
Flower: its own client functions for all four stages and its server's arithmetic, with its default ranges, two thirds of
the sites as threshold. TenSEAL: NVIDIA FLARE's parameters (ring 8192, [60, 40, 40] bits, scale 2^40), one secret key
for all; encrypt and serialise at every site, add at the server, decrypt at one site. Network and files are left out.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np

Vectors = list[np.ndarray]

FLOWER = {"clipping_range": 8.0, "target_range": 1 << 22, "mod_range": 1 << 32, "max_weight": 1000.0}


def cpu(work: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds of this process, and what came of it."""
    began = time.process_time()
    made = work()
    return time.process_time() - began, made


def plain_mean(vectors: Vectors) -> np.ndarray:
    """The yardstick: the sum in place, and one scaling."""
    total = vectors[0].copy()
    for vector in vectors[1:]:
        total += vector
    total *= np.float32(1 / len(vectors))
    return total


def flower(vectors: Vectors) -> tuple[np.ndarray, int]:
    """The mean by SecAgg as Flower's client and server compute it, and the bytes of one masked vector."""
    from flwr.common import ndarrays_to_parameters
    from flwr.common.secure_aggregation.crypto.shamir import combine_shares
    from flwr.common.secure_aggregation.ndarrays_arithmetic import (
        factor_extract,
        parameters_addition,
        parameters_mod,
        parameters_subtraction,
    )
    from flwr.common.secure_aggregation.quantization import dequantize
    from flwr.common.secure_aggregation.secaggplus_utils import pseudo_rand_gen

    client = importlib.import_module("flwr.client.mod.secure_aggregation.secaggplus_mod")
    sites = list(range(1, len(vectors) + 1))
    n, threshold = len(sites), 2 * len(sites) // 3 + 1
    asked = {"sample_num": n, "share_num": n, "threshold": threshold, **FLOWER}
    states = {site: client.SecAggPlusState(nid=site) for site in sites}
    keys = {}
    for site, state in states.items():
        given = client._setup(state, asked)
        state.nid, keys[str(site)] = site, (given["pk1"], given["pk2"])
    mail: dict[int, list[tuple[int, bytes]]] = {site: [] for site in sites}
    for site, state in states.items():
        given = client._share_keys(state, keys)
        for to, sealed in zip(given["dsts"], given["ctxts"], strict=True):
            mail[to].append((site, sealed))
    total, size = None, 0
    for site, state in states.items():
        got = {"srcs": [one for one, _ in mail[site]], "ctxts": [sealed for _, sealed in mail[site]]}
        given = client._collect_masked_vectors(state, got, 100, ndarrays_to_parameters([vectors[site - 1]]))
        arrays = [np.load(_file(blob), allow_pickle=False) for blob in given["masked_params"]]
        size = sum(len(blob) for blob in given["masked_params"])
        total = arrays if total is None else parameters_addition(total, arrays)
    shares: dict[int, list[bytes]] = {site: [] for site in sites}
    for state in states.values():
        given = client._unmask(state, {"active_nids": sites, "dead_nids": []})
        for owner, share in zip(given["nids"], given["shares"], strict=True):
            shares[owner].append(share)
    for held in shares.values():
        mask = pseudo_rand_gen(combine_shares(held), FLOWER["mod_range"], [one.shape for one in total])
        total = parameters_subtraction(total, mask)
    ratio, opened = factor_extract(parameters_mod(total, FLOWER["mod_range"]))
    mean = dequantize(opened, FLOWER["clipping_range"], FLOWER["target_range"])[0]
    mean += -(n - 1) * FLOWER["clipping_range"]
    return mean * (FLOWER["target_range"] / ratio), size


def _file(blob: bytes) -> Any:
    from io import BytesIO

    return BytesIO(blob)


def tenseal(vectors: Vectors) -> tuple[np.ndarray, int]:
    """The mean by CKKS as FLARE does it, and the bytes of one encrypted vector."""
    import tenseal as ts

    context = ts.context(ts.SCHEME_TYPE.CKKS, 8192, coeff_mod_bit_sizes=[60, 40, 40])
    context.global_scale = 2**40
    sent = [ts.ckks_vector(context, vector.astype(np.float64)).serialize() for vector in vectors]
    total = ts.ckks_vector_from(context, sent[0])
    for blob in sent[1:]:
        total += ts.ckks_vector_from(context, blob)
    return np.array(total.decrypt()) / len(vectors), len(sent[0])


PEERS = {"flwr": flower, "tenseal": tenseal}


def measure(*, n_sites: int, n_parameters: int, repeats: int) -> dict[str, Any]:
    """Figures of every peer that is installed, by name."""
    rng = np.random.default_rng(0)
    vectors = [rng.normal(size=n_parameters).astype(np.float32) for _ in range(n_sites)]
    exact = sum(vector.astype(np.float64) for vector in vectors) / n_sites
    plain = min(cpu(lambda: plain_mean(vectors))[0] for _ in range(20))
    found: dict[str, Any] = {"sites": n_sites, "parameters": n_parameters, "plain_ms": 1e3 * plain}
    for name, peer in PEERS.items():
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
            continue
        spent = []
        for _ in range(repeats):
            seconds, (mean, size) = cpu(lambda peer=peer: peer(vectors))
            spent.append(seconds)
        found[name] = {
            "version": version, "ratio": min(spent) / plain, "cpu_s": min(spent), "bytes": size / (4 * n_parameters),
            "error": float(np.abs(mean - exact).max()),
        }  # fmt: skip
    return found


def main() -> None:
    """Measure and print."""
    asked = argparse.ArgumentParser(description="cost of others' secure aggregation against a plain mean")
    asked.add_argument("--sites", type=int, default=5)
    asked.add_argument("--parameters", type=int, default=1_000_000)
    asked.add_argument("--repeats", type=int, default=1)
    asked.add_argument("--json", action="store_true")
    given = asked.parse_args()
    found = measure(n_sites=given.sites, n_parameters=given.parameters, repeats=given.repeats)
    if given.json:
        print(json.dumps(found))
        return
    print(f"{given.sites} sites, {given.parameters:,} parameters; plain mean {found['plain_ms']:.2f} ms")
    for name in PEERS:
        one = found[name]
        if isinstance(one, str):
            print(f"{name:10}{one}")
            continue
        print(f"{name} {one['version']}: CPU {one['cpu_s']:.2f} s, x plain {one['ratio']:.0f},"
              f" bytes x float32 {one['bytes']:.2f}, largest error {one['error']:.2g}")  # fmt: skip


if __name__ == "__main__":
    main()
