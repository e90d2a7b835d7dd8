#!/bin/bash
# A difftune run on several GPU nodes of a SLURM cluster: one process for each GPU.
#
#   sbatch examples/cluster/slurm.sh analysis.toml runs/first
#
# Submit it again with the same arguments and it goes on from the last checkpoint; the number of
# nodes may be another one.
#SBATCH --job-name=difftune
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --time=08:00:00
#SBATCH --signal=TERM@60
#SBATCH --output=%x-%j.log
set -euo pipefail

analysis=$1
folder=$2
resume=()
if [ -e "$folder/config.json" ]; then resume=(--resume); fi

# Each process sees all GPUs of its node and takes the one with its own number. With
# --gpus-per-task a process would see one alone, and jax.distributed would look for others.
srun --kill-on-bad-exit=1 difftune run "$analysis" --output "$folder" "${resume[@]}"
