"""`tertium plan`: the minimum world size of a model, without a cluster and without a GPU.

This file knows the command line; what is planned comes from `plan_subject`, what is printed from
`plan_table` and `plan_answer`, many models at once from `plan_batch`.
"""

from __future__ import annotations

import argparse
import json
import sys
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Final

import yaml

from tertium.cli import plan_batch, plan_table
from tertium.cli.plan_answer import bad, outcome_answer
from tertium.cli.plan_subject import read_subject
from tertium.core.planner import DEFAULT_ENGINE_VERSION, Refused, search
from tertium.core.planner.releases import version_number

DOES_NOT_FIT: Final = 3

_EPILOG: Final = """\
exit codes:
  0  it fits (with --batch: every row has its verdict)
  2  bad input: one sentence on standard error says what (with --batch: in some row)
  3  it does not fit

examples:
  tertium plan Qwen/Qwen3-8B --gpu NVIDIA-L4 --context 16384
  tertium plan ./my-model --gpu L40S:46068 --gpu H100 --gpus-per-node 4
  tertium plan ./only-a-config --weight-bytes 16060522496 --gpu A100-40GB -o json
  tertium plan -f llmdeployment.yaml        # a gate for manifests: needs no cluster
  tertium plan --batch rows.jsonl -o jsonl
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    parser.add_argument(
        "model",
        nargs="?",
        metavar="MODEL",
        help="a model of the hub (ORG/NAME or hf://ORG/NAME), of a bucket (s3://BUCKET/PATH), or a local "
        "folder; config.json is enough there, with --weight-bytes or an index that tells total_size",
    )
    parser.add_argument(
        "-f",
        "--file",
        type=Path,
        metavar="FILE",
        help="plan for this LLMDeployment: its model (unless MODEL is given), capacity, accelerators, "
        "parallelism and precision; the flags below go before what it says",
    )
    parser.add_argument(
        "--batch",
        type=Path,
        metavar="ROWS",
        help="judge many: a JSON object a line in, a verdict a line out; - is standard input",
    )
    parser.add_argument(
        "-o",
        "--output",
        choices=("table", "json", "yaml", "jsonl"),
        help="default: table, with --batch jsonl; jsonl goes with --batch only",
    )
    _configure_gpus(parser.add_argument_group("GPUs"))
    _configure_load(parser.add_argument_group("what one replica must hold"))
    _configure_engine(parser.add_argument_group("engine"))


def _configure_gpus(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--gpu",
        action="append",
        default=[],
        metavar="NAME[:MIB]",
        help="a GPU to plan for, with its memory as nvidia-smi and node labels show it unless it is a known "
        "one, as in NVIDIA-L4 or My-GPU:23034; repeat it for more; default: the accelerators of FILE, else "
        "every GPU that is known",
    )
    group.add_argument(
        "--gpus-per-node", type=count, default=8, metavar="N", help="GPUs of one node (default: %(default)s)"
    )
    group.add_argument(
        "--nodes",
        type=count,
        metavar="N",
        help="most nodes that one replica may span (default: 1, or what the pinned sizes need)",
    )
    group.add_argument(
        "--tensor-parallel", type=count, metavar="N", help="pin the GPUs a layer is split over"
    )
    group.add_argument("--pipeline-parallel", type=count, metavar="N", help="pin the stages of layers")


def _configure_load(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--context", type=count, metavar="N", help="tokens of one sequence (default: 8192)")
    group.add_argument(
        "--concurrency", type=count, metavar="N", help="sequences at the same time (default: 64)"
    )
    group.add_argument(
        "--kv-cache",
        choices=("auto", "fp8IfNeeded", "fp8"),
        help="precision of the KV cache (default: auto, the model's own)",
    )
    group.add_argument(
        "--weight-bytes",
        type=count,
        metavar="N",
        help="size of the weights, instead of reading their headers",
    )


def _configure_engine(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--max-num-seqs", type=count, metavar="N", help="the engine's flag (default: the concurrency)"
    )
    group.add_argument(
        "--max-num-batched-tokens", type=count, metavar="N", help="the engine's flag (default: its own)"
    )
    group.add_argument(
        "--gpu-memory-utilization",
        type=hundredths,
        metavar="X",
        help="share of the memory the engine may take, as in 0.92 (default: the engine's own)",
    )
    group.add_argument("--enforce-eager", action="store_true", help="no CUDA graphs")
    group.add_argument(
        "--vllm-version",
        type=version,
        default=DEFAULT_ENGINE_VERSION,
        metavar="V",
        help="default: %(default)s",
    )


def run(args: argparse.Namespace) -> int:
    """Plan and print. Raises Terminal for bad input."""
    if args.batch is not None:
        return _run_batch(args)
    if args.output == "jsonl":
        raise bad("-o jsonl goes with --batch; use -o json for one model")
    subject = read_subject(args)
    outcome = search(subject.facts, subject.pools, subject.request, ordered=subject.ordered)
    if args.output == "json":
        sys.stdout.write(json.dumps(outcome_answer(outcome), ensure_ascii=False) + "\n")
    elif args.output == "yaml":
        sys.stdout.write(yaml.safe_dump(outcome_answer(outcome), sort_keys=False, allow_unicode=True))
    else:
        sys.stdout.write(plan_table.render(subject, outcome, colour=plan_table.wants_colour(sys.stdout)))
    return DOES_NOT_FIT if isinstance(outcome, Refused) else 0


def _run_batch(args: argparse.Namespace) -> int:
    if args.model is not None or args.file is not None:
        raise bad("--batch takes its models from ROWS; leave out MODEL and -f")
    if args.output not in (None, "jsonl"):
        raise bad(f"-o {args.output} does not go with --batch; its answers are jsonl")
    return plan_batch.run(args.batch, sys.stdin, sys.stdout)


def count(text: str) -> int:
    """Read a whole number of at least 1."""
    try:
        number = int(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from error
    if not 1 <= number <= 1 << 62:
        raise argparse.ArgumentTypeError(f"{number} is not between 1 and 2^62")
    return number


def version(text: str) -> str:
    """Read a release of the engine."""
    if version_number(text) is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no release, as 0.32.0 is")
    return text


def hundredths(text: str) -> int:
    """Read a share as hundredths; what is finer than one of them is dropped, as the flag would round it."""
    try:
        share = Decimal(text)
    except InvalidOperation as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from error
    if share.is_nan() or not Decimal("0.01") <= share <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0.01 and 1")
    return int(share * 100)
