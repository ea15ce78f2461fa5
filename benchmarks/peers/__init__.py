"""Other systems on our workloads, each a script that runs in an environment without socialrec_jax.

They run in the peers' environment (requirements-peers.txt): these files import numpy, torch and the
peer, nothing of this project. They read a file that `benchmarks.work.peer_data` writes; the last
line that they print is one JSON object. `--device cuda` runs them on a GPU.
"""
