"""Test the ways to start several processes: `--devices 2`, torchrun, SLURM's variables, two hosts.

    sudo python benchmarks/hosts.py                 # two network namespaces simulate two hosts; needs root

Each way runs the same training in two processes; all must end with the same weights, bit for bit.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import tyro
from receipt import receipt
from safetensors.numpy import load_file

from advdistill import distill, recipes

PORT = "29871"
ADDRESSES = ("10.99.0.1", "10.99.0.2")
QUIET = {"OMP_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Options:
    out: Path = Path("benchmarks/results/hosts.md")
    epochs: int = 2


def main(options: Options) -> None:
    lines = ["| started by | ended | seconds of the last epoch | weights |", "|---|---|--:|---|"]
    with TemporaryDirectory() as folder, two_hosts() as hosts:
        teacher = distill(recipes.load("digits.teacher").replace(epochs=2), Path(folder, "teacher"))
        first = None
        for name, start in WAYS.items():
            run = Path(folder, name.split()[0])
            ended = start(command(run, Path(teacher.folder), options.epochs), hosts)
            weights = load_file(run / "last.safetensors") if (run / "last.safetensors").exists() else {}
            first = first or weights
            same = weights.keys() == first.keys() and all((weights[key] == first[key]).all() for key in weights)
            seconds = (run / "metrics.jsonl").read_text().split('"seconds": ')[-1].split(",")[0].strip("}\n")
            lines.append(f"| {name} | {ended} | {seconds} | {'as the first' if same and weights else 'DIFFER'} |")
            print(lines[-1], flush=True)
    options.out.write_text(f"# Several processes, started in several ways\n\n{receipt()}\n\n" + "\n".join(lines) + "\n")


def command(run: Path, teacher: Path, epochs: int) -> list[str]:
    given = ["--teacher", str(teacher), "--epochs", str(epochs), "--out", str(run), "--suite", "None"]
    return ["advdistill", "train", "digits.rslad", *given, "--accelerator", "cpu"]


def by_itself(run: list[str], hosts) -> str:
    return together([[sys.executable, "-m", *run, "--devices", "2"]])


def by_torchrun(run: list[str], hosts) -> str:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    return together([[*torchrun, *run, "--devices", "2"]])


def as_slurm(run: list[str], hosts) -> str:
    """Start two tasks with the variables that `srun --ntasks-per-node 2` sets."""
    shared = {"SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2", "SLURM_JOB_NAME": "train", "SLURM_NNODES": "1"}
    shared |= {"SLURM_JOB_ID": "1", "SLURM_NODELIST": "127.0.0.1", "SLURM_NODEID": "0", "MASTER_PORT": PORT}
    tasks = [shared | {"SLURM_PROCID": str(n), "SLURM_LOCALID": str(n)} for n in range(2)]
    return together([[sys.executable, "-m", *run, "--devices", "2"]] * 2, tasks)


def on_two_hosts(run: list[str], hosts: tuple[str, str]) -> str:
    """Start one process on each host; both hosts can access the run's folder."""
    inside = []
    for rank, host in enumerate(hosts):
        join = ["--nnodes", "2", "--node-rank", str(rank), "--master-addr", ADDRESSES[0], "--master-port", PORT]
        torchrun = [sys.executable, "-m", "torch.distributed.run", *join, "--nproc-per-node", "1", "-m"]
        inside.append(["ip", "netns", "exec", host, *torchrun, *run, "--devices", "1", "--num-nodes", "2"])
    return together(inside, [{"GLOO_SOCKET_IFNAME": f"{host}-eth"} for host in hosts])


WAYS = {
    "itself: `advdistill train ... --devices 2`": by_itself,
    "torchrun: `torchrun --nproc-per-node 2 -m advdistill train ... --devices 2`": by_torchrun,
    "slurm: two tasks with the variables that `srun --ntasks-per-node 2` sets": as_slurm,
    "hosts: two network namespaces, `torchrun --nnodes 2 ... --devices 1 --num-nodes 2` in each": on_two_hosts,
}


def together(commands: list[list[str]], variables: list[dict] | None = None) -> str:
    """Run the commands at the same time; return `well`, or `failed` and the first error."""
    pairs = zip(commands, variables or [{}] * len(commands), strict=True)
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    started = [subprocess.Popen(line, env=os.environ | QUIET | more, **pipes) for line, more in pairs]
    said = [process.communicate(timeout=600)[1] for process in started]
    if failed := [text for text, process in zip(said, started, strict=True) if process.returncode]:
        print(failed[0], file=sys.stderr)
        return f"failed: {failed[0].strip().splitlines()[-1]}"
    return "well"


@contextmanager
def two_hosts() -> Iterator[tuple[str, str]]:
    """Create two network namespaces with a virtual cable between them; delete them afterwards."""
    hosts = ("host-a", "host-b")
    ends = [f"{host}-eth" for host in hosts]
    try:
        _ip("link", "add", ends[0], "type", "veth", "peer", "name", ends[1])
        for host, end, address in zip(hosts, ends, ADDRESSES, strict=True):
            _ip("netns", "add", host)
            _ip("link", "set", end, "netns", host)
            _ip("-n", host, "addr", "add", f"{address}/24", "dev", end)
            _ip("-n", host, "link", "set", end, "up")
            _ip("-n", host, "link", "set", "lo", "up")
        yield hosts
    finally:
        for host in hosts:
            subprocess.run(["ip", "netns", "del", host], stderr=subprocess.DEVNULL)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


if __name__ == "__main__":
    main(tyro.cli(Options))
