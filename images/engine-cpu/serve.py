"""`vllm serve` for vLLM's CPU build: the entrypoint of the engine-cpu image.

Takes the command line of the official vLLM image, so that who starts the container need not know that no GPU
is there. What the CPU build wants besides is set here, unless the environment or the command line has it:
thread binding, KV cache size, eager mode, no network.
Must not know who starts it. Standard library only until vLLM is imported.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

_PARALLEL_SIZE = ("--tensor-parallel-size", "-tp")


def defaults(arguments: Sequence[str], cores: Sequence[int], home_is_writable: bool) -> dict[str, str]:
    """Environment variables that the CPU build needs for this command line.

    `cores` are the CPU numbers that this process may use.
    """
    variables = {
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": binding(option(arguments, _PARALLEL_SIZE), cores),
        "VLLM_NO_USAGE_STATS": "1",
    }
    if eager(arguments):
        # Some layers of a tensor-parallel model are compiled even in eager mode, which takes a C++ compiler.
        variables["TORCHDYNAMO_DISABLE"] = "1"
    if not home_is_writable:
        variables["HOME"] = "/tmp"
    if (name := model(arguments)) and Path(name).is_dir():
        variables["HF_HUB_OFFLINE"] = "1"
    return variables


def binding(parallel_size: str | None, cores: Sequence[int]) -> str:
    """The cores of each rank, as `0,1|2,3`.

    vLLM's own rule wants a NUMA node per rank and refuses otherwise. Threads and ranks busy-wait for each
    other, so each rank gets cores of its own as long as there are enough, and leaves one of several to the
    server: threads that wait for a core that others use hold up all the rest.
    """
    ranks = max(1, int(parallel_size)) if parallel_size and parallel_size.isdigit() else 1
    if len(cores) < ranks:
        return "|".join(str(cores[rank % len(cores)]) for rank in range(ranks))
    share = len(cores) // ranks
    used = max(1, share - 1)
    return "|".join(",".join(map(str, cores[rank * share : rank * share + used])) for rank in range(ranks))


def option(arguments: Sequence[str], names: Sequence[str]) -> str | None:
    """The value of the last of these options, given as `--name value` or `--name=value`, or None."""
    value = None
    for argument, following in pairwise([*arguments, ""]):
        name, equals, inline = argument.partition("=")
        # vLLM takes underscores for dashes in the names of options.
        if name.replace("_", "-") in names:
            value = inline if equals else following
    return value


def model(arguments: Sequence[str]) -> str:
    """The model that the command line names: its first argument, or `--model`; else an empty string."""
    if arguments and not arguments[0].startswith("-"):
        return arguments[0]
    return option(arguments, ("--model",)) or ""


def eager(arguments: Sequence[str]) -> bool:
    """Whether the model runs as it is written: so it does unless the command line says otherwise."""
    return "--no-enforce-eager" not in (argument.replace("_", "-") for argument in arguments)


def command_line(arguments: Sequence[str]) -> list[str]:
    """The arguments, with eager mode unless they decide it themselves."""
    said = "--enforce-eager" in (argument.replace("_", "-") for argument in arguments)
    return list(arguments) if said or not eager(arguments) else [*arguments, "--enforce-eager"]


def with_defaults(environment: Mapping[str, str], wanted: Mapping[str, str]) -> dict[str, str]:
    """`wanted` without what the environment sets already."""
    return {name: value for name, value in wanted.items() if name == "HOME" or not environment.get(name)}


def main() -> None:
    """Run `vllm serve` with this process's arguments."""
    arguments = sys.argv[1:]
    home_is_writable = os.access(os.environ.get("HOME", "/nonexistent"), os.W_OK)
    wanted = defaults(arguments, sorted(os.sched_getaffinity(0)), home_is_writable)
    os.environ.update(with_defaults(os.environ, wanted))

    # vLLM reads its environment while it is imported. Its own command line asks for the version of a
    # distribution named "vllm", which the CPU build does not have; so only its `serve` is taken.
    from vllm.entrypoints.cli.serve import cmd_init  # noqa: PLC0415
    from vllm.entrypoints.serve.utils.api_utils import cli_env_setup  # noqa: PLC0415
    from vllm.utils.argparse_utils import FlexibleArgumentParser  # noqa: PLC0415

    cli_env_setup()
    (command,) = cmd_init()
    parser = FlexibleArgumentParser(prog="vllm")
    command.subparser_init(parser.add_subparsers(dest="subparser", required=True))
    parsed = parser.parse_args(["serve", *command_line(arguments)])
    command.validate(parsed)
    command.cmd(parsed)


# vLLM starts its workers by importing this file again; they must not serve.
if __name__ == "__main__":
    main()
