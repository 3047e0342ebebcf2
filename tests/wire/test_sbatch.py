"""Scripts for sbatch as tasks, and every line of them that is refused."""

import pytest

from mosu.wire.sbatch import is_sbatch, parse_sbatch
from mosu.wire.task import ResourceNeed, TaskRefused, dump_task, parse_task

SCRIPT = """\
#!/bin/bash
#SBATCH --job-name=train
#SBATCH -N 1 --ntasks-per-node=2   # two workers
#SBATCH -c4
#SBATCH --mem=6G
#SBATCH -t 1-02:30
#SBATCH --gres=gpu:H100:8
#SBATCH --output=%j.out -e %j.err
##SBATCH --array=1-10
#SBATCH --export=EPOCHS=3,LR=0.1

python train.py --workers "$SLURM_NTASKS"
#SBATCH --partition=too-late-to-count
"""


def test_a_script_becomes_a_task() -> None:
    assert is_sbatch(SCRIPT)
    task = parse_sbatch(SCRIPT)
    assert task.resources == ResourceNeed(
        accelerators=(("H100", 8),), cpus=8, cpus_at_least=True, memory_gb=6, memory_at_least=True
    )
    assert (task.name, task.num_nodes, task.wall_limit_s, task.workdir) == ("train", 1, 95_400, ".")
    assert task.run == SCRIPT
    envs = dict(task.envs)
    assert (envs["EPOCHS"], envs["LR"], envs["SLURM_CPUS_PER_TASK"], envs["SLURM_NTASKS"]) == (
        "3",
        "0.1",
        "4",
        "2",
    )


def test_it_is_a_task_file_too() -> None:
    task = parse_sbatch(SCRIPT)
    assert parse_task(dump_task(task)) == task


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30", 1800), ("30:15", 1815), ("2:00:00", 7200), ("1-0", 86_400), ("1-12:00:30", 129_630)],
)
def test_times_are_slurms(text: str, seconds: int) -> None:
    assert parse_sbatch(f"#!/bin/sh\n#SBATCH --time={text}\ntrue\n").wall_limit_s == seconds


@pytest.mark.parametrize(("text", "gb"), [("512", 1), ("1500M", 2), ("16G", 16), ("1T", 1024), ("2048k", 1)])
def test_sizes_are_slurms(text: str, gb: int) -> None:
    assert parse_sbatch(f"#!/bin/sh\n#SBATCH --mem={text}\ntrue\n").resources.memory_gb == gb


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("#SBATCH --array=1-10", "once for each"),
        ("#SBATCH -p gpu", "the hub chooses"),
        ("#SBATCH --nodes=2", "num_nodes"),
        ("#SBATCH --gres=gpu:2", "such as gpu:H100:8"),
        ("#SBATCH --time=forever", "a time such as"),
        ("#SBATCH --time=0", "a time such as"),
        ("#SBATCH --mem=0", "a size such as"),
        ("#SBATCH --export=ALL", "does not see your shell"),
        ("#SBATCH --frobnicate", "not known to mosu"),
        ("#SBATCH --job-name='x", "quotation"),
        ("srun python train.py", "write the command itself"),
        ("module load cuda", "no modules"),
    ],
)
def test_what_mosu_does_not_do_is_refused_by_its_line(line: str, said: str) -> None:
    with pytest.raises(TaskRefused) as refused:
        parse_sbatch(f"#!/bin/bash\n#SBATCH --time=10\n{line}\ntrue\n")
    [problem] = refused.value.problems
    assert problem["line"] == 3 and said in problem["message"] + problem["allowed"]


def test_all_lines_are_told_at_once() -> None:
    with pytest.raises(TaskRefused) as refused:
        parse_sbatch("#!/usr/bin/env python3\n#SBATCH -p a -A b\nsrun x\n")
    assert [problem["line"] for problem in refused.value.problems] == [1, 2, 2, 3]
