"""The Slurm engine: attempts are batch jobs, each in mosu's sandbox on its compute nodes.

By Slurm's own command line, as it is on every cluster; nothing of Slurm's is installed or configured by mosu. What
the agent and a job say to each other lies in the attempt's folder, on the file system that login and compute nodes
share (docs/adr/0021-slurm.md, docs/reference/engines.md).
"""
