"""Checks the transcript of one masked round and recomputes its sum; shares no code with `cohortium.privacy`.

Written from docs/reference/masked-rounds.md, not from the package: a second reading of the protocol. `sum_digest` gives
the SHA-256 payload digest of the opened sum, or raises ValueError saying what does not hold.
"""

import hashlib
import json

import msgspec
import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

P, pack, sha = 2**255 - 19, msgspec.msgpack.encode, lambda *parts: hashlib.sha256(b"".join(parts)).digest()


def sum_digest(t):
    sites, survivors = sorted(t["sites"]), sorted(t["survivors"])
    n, bits, hidden, entries = len(sites), *t["layout"]
    c = max(t["n_joiners"], n) // 3
    need = (n + c) // 2 + 1
    _hold(len(survivors) >= max(need, c + 2, 3) and set(survivors) <= set(sites), "survivors are too few")
    layout = sha(b"cohortium-words-1", json.dumps([bits, hidden, entries], separators=(",", ":")).encode())
    fields = [bytes.fromhex(t[k]) for k in ("consortium", "study")], [t[k] for k in ("run", "round", "attempt")]
    ctx = sha(b"cohortium-mask-1", pack([*fields[0], *fields[1], bytes.fromhex(t["base"]), sites, layout, bits,
                                         max(t["n_joiners"], n), t["largest_weight"], 0]))  # fmt: skip
    keys = {s: {k: bytes.fromhex(v) for k, v in t["keys"][s].items()} for s in sites}
    _hold(all(one["ctx"] == ctx for one in keys.values()), "keys are for another context")
    header = sha(b"cohortium-header-1", ctx,
                 pack([[s, t["weights"][s], keys[s]["exponents"], keys[s]["mask_key"]] for s in sites]))  # fmt: skip
    secrets = {s: _rebuild(t, ctx, s, int(s not in survivors), need, sites, keys[s]) for s in sites}
    ranges = np.max([np.frombuffer(keys[s]["exponents"], np.int8) for s in sites], axis=0).tolist()
    sums, whole, derive = {}, sum(t["weights"][s] for s in sites), lambda key, info: _hkdf(key, header, info)
    for segment, dtype in (("floats", f"<u{bits // 8}"), ("integers", "<u8"), ("weight", "<u8")):
        if segment not in t["masked"][survivors[0]]:
            continue
        vectors = [np.frombuffer(bytes.fromhex(t["masked"][s][segment]), dtype) for s in survivors]
        total = np.sum(vectors, axis=0, dtype=dtype)
        for s in survivors:
            total -= _stream(derive(secrets[s], f"self|{s}|{segment}"), total)
            for lost in set(sites) - set(survivors):
                shared = X25519PrivateKey.from_private_bytes(secrets[lost]).exchange(
                    X25519PublicKey.from_public_bytes(keys[s]["mask_key"]))  # fmt: skip
                mask = _stream(derive(shared, "|".join(["pair", *sorted((lost, s)), segment])), total)
                total = total - mask if lost > s else total + mask
        _hold(not total[-8:].any(), "masks do not cancel")
        sums[segment] = total[:-8].view(dtype.replace("u", "i"))
        _hold(np.abs(sums[segment].astype(object)).max() <= 1 << (8 * total.itemsize - 2), "sum out of range")
    names = list(dict.fromkeys(_group(e, bits) for e in entries if e[1][0] == "F"))
    at, opened = {"floats": 0, "integers": 0}, []
    dither = sum(_dither(derive(header, f"dither|{s}")) for s in survivors) if bits == 16 and not hidden else None
    for name, code, shape in entries:
        kind, size = "floats" if code[0] == "F" else "integers", int(np.prod(shape, dtype=int))
        words = sums[kind][at[kind] : at[kind] + size]
        if kind == "floats":
            exponent = ranges[names.index(_group([name, code, shape], bits))]
            value_bits = min(48, bits - 1 - (n * t["largest_weight"] - 1).bit_length())
            steps = 2 ** (value_bits - 1) - 1 if hidden else 2**62 - 2**20 if bits == 64 else 2 ** (bits - 2) - n
            words = words.astype(float) - (0 if dither is None else np.resize(dither, at[kind] + size)[at[kind] :])
            words = words * ((1.0 if hidden else float(whole)) / (steps * 2.0**-exponent))
        opened.append((name, "F64" if kind == "floats" else "I64", shape, words.tobytes()))
        at[kind] += size
    described = {"context": {}, "tensors": [[name, code, shape] for name, code, shape, _ in opened]}
    head = json.dumps(described, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()
    body = b"".join(data for *_, data in opened)
    return sha(b"cohortium-payload-1", sha(head), *(sha(body[i : i + 2**20]) for i in range(0, len(body), 2**20))).hex()


def _rebuild(t, ctx, owner, kind, need, sites, key):
    """A site's self mask (kind 0) or mask key (1) from answers that fit what its dealer showed."""
    good = {}
    for x, holder in enumerate(sites, 1):
        share = t["answers"].get(holder, [None] * len(sites))[sites.index(owner)]
        name = f"share|{owner}|{holder}|{kind}|".encode()
        if (
            share
            and sha(name, ctx, bytes.fromhex(share)).hex() == t["digests"][owner][x - 1][kind]
            and len(good) < need
        ):
            good[x] = int.from_bytes(bytes.fromhex(share), "little")
    _hold(len(good) == need, f"too few good shares of {owner}")
    value = sum(y * np.prod([x2 * pow(x2 - x, -1, P) for x2 in good if x2 != x], dtype=object) for x, y in good.items())
    secret = int(value % P).to_bytes(32, "little")[: 32 if kind else 31]
    public = X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw() if kind else b""
    _hold(public == key["mask_key"] if kind else sha(b"self|", ctx, secret) == key["self_digest"], f"secret of {owner}")
    return secret


def _hold(true, what):
    if not true:
        raise ValueError(what)


def _group(entry, bits):
    return entry[0] if bits == 16 else entry[0].partition("/")[0] + "/" if "/" in entry[0] else ""


def _hkdf(key, salt, info):
    return HKDF(algorithm=SHA256(), length=16, salt=salt, info=info.encode()).derive(key)


def _stream(key, like):
    cipher = Cipher(algorithms.AES(key), modes.CTR((2).to_bytes(16, "big"))).encryptor()
    return np.frombuffer(cipher.update(bytes(like.nbytes)), like.dtype)


def _dither(key):
    return (_stream(key, np.empty(16384, np.uint8)).astype(float) - 127.5) / 256
