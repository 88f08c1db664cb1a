"""A Ray cluster of three nodes on this machine, until standard input ends: a program of its own,
so that no Ray is in the process of the tests. A line there, and the head is lost; that is answered
by a line."""

from __future__ import annotations

import sys

from ray.cluster_utils import Cluster

HOST = "127.0.0.2"
"""Of the loopback; Ray would have an address that others reach for 127.0.0.1."""
NODE = {"num_cpus": 1, "num_gpus": 1, "node_ip_address": HOST, "object_store_memory": 80 << 20}
"""Its GPU is none: Ray only counts them."""


def main() -> None:
    cluster = Cluster(initialize_head=True, head_node_args=NODE | {"include_dashboard": False})
    for _ in range(2):
        cluster.add_node(**NODE)
    print(cluster.address, flush=True)
    for _ in sys.stdin:
        assert cluster.head_node is not None
        cluster.head_node.kill_gcs_server(check_alive=False)
        print("lost", flush=True)
    for node in list(cluster.list_all_nodes()):
        node.kill_all_processes(check_alive=False, allow_graceful=True)


if __name__ == "__main__":
    main()
