"""A hub that sells a real Slurm: what it costs over bare `sbatch`, and what remains true when parts of it die."""
