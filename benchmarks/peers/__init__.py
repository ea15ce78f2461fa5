"""Other systems on our workloads, each a script that runs in an environment without ours.

Run in the peers' environment (requirements-peers.txt): these files import numpy, torch and the
peer, nothing of this project. What they read is an .npz that `benchmarks.suites.peers` writes; the last
line that they print is one JSON object.
"""
