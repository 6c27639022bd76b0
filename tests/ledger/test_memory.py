"""What is special about `memory`: no file, no EVM, blocks linked by hash."""

import subprocess
import sys
from itertools import pairwise

from cohortium.core.identity import keccak
from cohortium.ledger.blocks import read_header


def test_nothing_is_written(hospitals, tmp_path):
    one = hospitals.found("memory", tmp_path)
    one.put("bonn", "heartbeat")
    one.ledger.close()
    assert list(tmp_path.iterdir()) == []


def test_each_block_names_the_one_before(hospitals, tmp_path):
    one = hospitals.found("memory", tmp_path)
    one.put("bonn", "heartbeat")
    one.put("graz", "heartbeat")
    blocks = one.ledger._blocks
    assert read_header(blocks[0].header).parent == bytes(32)
    for before, block in pairwise(blocks):
        assert read_header(block.header).parent == keccak(before.header)


def test_it_needs_no_evm_package():
    code = "import sys, cohortium.ledger.memory; print(sorted({'eth', 'rlp', 'eth_abi', 'sqlite3'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
