"""Entry: python -m dev.chaos [--seed N] [--events N] [--faults N] [--kinds A,B] [--rate N] [--shape S] [--scenario A].

The scenarios `recovery` and `outbox` have options of their own: [--deliveries N] [--measure], [--rows N], [--kills N].

Exit status: 0 if the promise was kept, 1 if it was broken, 130 if the run was interrupted.
"""

import argparse
import asyncio
import contextlib
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import uvloop

from dev.chaos import outbox, recovery, report, run, schedule, stack, verdict
from dev.chaos.scenarios import SCENARIOS
from dev.harness.supervisor import cancel_on_signals
from services.platform.process import lifecycle

DEFAULT_RATE = 100.0
RECOVERY = "recovery"
OUTBOX = "outbox"
# So many large events that some of them wait for longer than a lease.
LARGE_EVENTS = 200


def main() -> None:
    """Run once."""
    options = _parse(sys.argv[1:])
    lifecycle.raise_open_files_limit()
    began = time.monotonic()

    def say(line: str) -> None:
        sys.stdout.write(f"{time.monotonic() - began:7.1f}  {line}\n")
        sys.stdout.flush()

    with _folder(options.keep) as folder:
        try:
            kept = uvloop.run(_main(options, folder, say))
        except (KeyboardInterrupt, asyncio.CancelledError):
            sys.exit(130)
    sys.exit(0 if kept else 1)


async def _main(options: argparse.Namespace, folder: Path, say: run.Say) -> bool:
    cancel_on_signals()
    if options.scenario == RECOVERY:
        return await _recover(options, folder, say)
    if options.scenario == OUTBOX:
        return await _relay(options, folder, say)
    scenario, shape = SCENARIOS.get(options.scenario), schedule.SHAPES[options.shape]
    if scenario:
        load, faults = scenario.load(options.rate), scenario.schedule(shape)
    else:
        load = run.Load(events=options.events, rate=options.rate, large=min(LARGE_EVENTS, options.events // 15))
        faults = schedule.make(options.seed, schedule.chosen(options.kinds, shape), options.faults, load.seconds)
        load = load.lasting(schedule.end_seconds(faults))
    say(
        f"seed {options.seed}, shape {options.shape}, {load.events} events at {load.rate:g}/s, {len(faults)} faults; "
        f"data in {folder}"
    )
    for fault in faults:
        say(str(fault))
    bystanders = options.subscriptions
    if bystanders is None:
        bystanders = scenario.bystanders if scenario else 0
    evidence = await run.run(stack.make_plan(folder, shape), load, faults, say, bystanders=bystanders)
    judged = verdict.judge(evidence)
    say(report.as_text(judged))
    wrong = [*verdict.too_gentle(judged), *(scenario.check(evidence, judged) if scenario else [])]
    for line in wrong:
        say(f"{options.scenario or 'the load'}: {line}")
    if options.json:
        facts = {
            "seed": options.seed,
            "events": load.events,
            "rate": load.rate,
            "shape": options.shape,
            "scenario": options.scenario,
            "wrong": wrong,
        }
        report.write_json(options.json, report.to_json(judged, faults, facts))
    return judged.ok and not wrong


async def _recover(options: argparse.Namespace, folder: Path, say: run.Say) -> bool:
    say(f"{options.deliveries} failed deliveries, {options.kills} kills; data in {folder}")
    asked = recovery.Options(deliveries=options.deliveries, kills=options.kills, measure=options.measure)
    found = await recovery.run(stack.make_plan(folder, schedule.SHAPES["five"]), asked, say)
    say(recovery.as_text(found))
    return not found.wrong


async def _relay(options: argparse.Namespace, folder: Path, say: run.Say) -> bool:
    say(f"{options.rows} rows, {options.kills} kills; data in {folder}")
    asked = outbox.Options(rows=options.rows, kills=options.kills)
    found = await outbox.run(stack.make_plan(folder, outbox.SHAPE), asked, say)
    say(outbox.as_text(found))
    return not found.wrong


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m dev.chaos", description="Prove that no accepted event is lost.")
    parser.add_argument("--seed", type=int, default=1, help="seed of the faults, which repeats a failed run")
    parser.add_argument("--events", type=int, default=3000)
    parser.add_argument("--faults", type=int, default=15)
    parser.add_argument("--rate", type=float, default=DEFAULT_RATE, help="events a second")
    parser.add_argument("--shape", choices=sorted(schedule.SHAPES), default="five", help="as PROCESSES of make run")
    parser.add_argument("--kinds", type=_names, default=[], help="kinds of faults, by name or prefix")
    parser.add_argument("--scenario", choices=sorted([*SCENARIOS, RECOVERY, OUTBOX]), help="what is fixed instead")
    parser.add_argument("--deliveries", type=int, default=1000, help="of recovery: how many failed")
    parser.add_argument(
        "--kills",
        type=int,
        default=recovery.KILLS,
        help="of recovery: of processes that run its job; of outbox: of relays",
    )
    parser.add_argument("--rows", type=int, default=outbox.ROWS, help="of outbox: how many are committed at least")
    parser.add_argument("--measure", action="store_true", help="of recovery: measure pace and latency, too")
    parser.add_argument(
        "--subscriptions", type=int, help="how many others the tenant has, which change and want none of the events"
    )
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--keep", type=Path, help="folder for data and logs, which are kept")
    options = parser.parse_args(arguments)
    try:
        schedule.chosen(options.kinds, schedule.SHAPES[options.shape])
    except ValueError as error:
        parser.error(str(error))
    if options.scenario == RECOVERY and options.shape != "five":
        parser.error("--scenario recovery: is of the shape five, in which a process that runs jobs sends nothing")
    if options.keep and options.keep.exists() and any(options.keep.iterdir()):
        parser.error(f"--keep {options.keep}: is not empty, and the verdict would be about what is in it, too")
    return options


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


@contextlib.contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    """Yield the named folder, or a temporary one."""
    if keep:
        yield keep
        return
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
