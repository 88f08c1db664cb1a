"""What an edge asks of its machine before it listens."""

from __future__ import annotations

import subprocess
import sys

FEW = """
import resource
from streamgen_edge.descriptors import DESCRIPTORS, take_descriptors
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
take_descriptors()
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0], min(hard, DESCRIPTORS))
take_descriptors()
"""


def test_an_edge_may_open_as_many_sockets_as_its_process_is_allowed() -> None:
    ran = subprocess.run([sys.executable, "-c", FEW], capture_output=True, text=True, timeout=30)
    assert ran.returncode == 0, ran.stderr
    now, most = map(int, ran.stdout.split())
    assert now == most > 256
