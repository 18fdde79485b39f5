"""Entry of the one-machine stack: python -m dev.local."""

import contextlib
import os
import signal
import sys
import time

from dev.embedded import EmbeddedError, Guard, ports
from dev.harness import plan
from dev.harness.supervisor import DATABASE, MigrationError, StackError, Supervisor, migrate, process
from dev.local import checks, lock, logs
from dev.local.logs import Watch
from dev.local.output import Output, fail
from dev.local.settings import LocalSettings
from services.platform.process import lifecycle

LOGS_INTERVAL_SECONDS = 10.0


def main() -> None:
    """Run the stack until it is stopped. Return exit status 1 with one line on failure, 2 if a setting is wrong."""
    settings = checks.checked()
    output = Output()
    try:
        with lock.held(settings.data_dir.resolve(), output.step) as stack_lock:
            # After the wait for a killed stack, whose gateway may still use the port.
            _refuse_taken_port(settings)
            _run(settings, output, stack_lock)
    except lock.InUse as error:
        taken = ports.why_not(settings.host, settings.port)
        fail(f"PORT {settings.port} {taken}, and {error}" if taken else str(error))
        sys.exit(1)
    except (StackError, EmbeddedError, MigrationError) as error:
        fail(str(error))
        sys.exit(1)
    except OSError as error:
        fail(f"the stack cannot run: {error}")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def _refuse_taken_port(settings: LocalSettings) -> None:
    why = ports.why_not(settings.host, settings.port)
    if why:
        raise StackError(
            f"PORT {settings.port} {why}; choose another one, for example PORT={settings.port % 65535 + 1}"
        )


def _run(settings: LocalSettings, output: Output, stack_lock: int) -> None:
    the_plan = plan.make(settings)
    the_plan.ports_path.unlink(missing_ok=True)
    lifecycle.raise_open_files_limit()
    with contextlib.ExitStack() as cleanup:
        guard = cleanup.enter_context(Guard(keep_open=[stack_lock]))
        supervisor = Supervisor(output.step, on_tick=_Housekeeping(guard, the_plan, settings, output).run)
        _stop_on_signals(supervisor)
        the_stores = the_plan.stores(
            guard, output.step, database_url=settings.postgres_dsn, redis_url=settings.redis_dsn
        )
        cleanup.callback(the_stores.close)
        cleanup.callback(the_plan.ports_path.unlink, missing_ok=True)
        cleanup.callback(_stop, supervisor, output)
        _start(supervisor, the_stores, the_plan, guard, settings, output)
        if not supervisor.stopping:
            output.serving(the_plan, settings)
            supervisor.watch()


def _start(
    supervisor: Supervisor,
    the_stores: plan.StackStores,
    the_plan: plan.Plan,
    guard: Guard,
    settings: LocalSettings,
    output: Output,
) -> None:
    postgres, valkey = the_stores.postgres, the_stores.valkey
    own = [name for name, store in (("postgres", postgres), ("valkey", valkey)) if store]
    output.step(f"starting {' and '.join(own)}" if own else "using the configured stores")
    supervisor.start_stores((postgres, valkey))
    if supervisor.stopping:
        return
    try:
        applied = migrate(the_stores.database_url, cancelled=lambda: supervisor.stopping, say=output.step)
    except MigrationError:
        if supervisor.stopping:
            return
        raise
    output.step(f"the schema is up to date ({applied} migrations applied)")
    the_plan.write_ports(
        {
            "database_url": the_stores.database_url,
            "redis_url": the_stores.redis_url,
            # URL of the superuser, for psql and other clients that use TCP. The processes use database_url, the
            # owner's.
            "postgres_tcp_url": postgres.superuser_tcp_url(DATABASE) if postgres else None,
            "supervisor_pid": os.getpid(),
        }
    )
    parts = (f"{name} ({', '.join(roles)})" if roles != (name,) else name for name, roles in the_plan.processes.items())
    output.step(f"starting {', '.join(parts)}")
    supervisor.start(
        process(
            the_plan.command(name, settings, database_url=the_stores.database_url, redis_url=the_stores.redis_url),
            guard,
            the_plan.readiness_urls(name),
        )
        for name in the_plan.processes
    )


def _stop(supervisor: Supervisor, output: Output) -> None:
    output.step("stopping")
    supervisor.stop()
    output.step("stopped")


def _stop_on_signals(supervisor: Supervisor) -> None:
    """Ignore further signals: make forwards one that its process group also got."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # nohup ignores SIGHUP on purpose.
        if number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
            continue
        signal.signal(number, lambda _number, _frame: supervisor.request_stop())


class _Housekeeping:
    """Tasks while the stack is running: check the guard, bound the logs, and in development print from them."""

    def __init__(self, guard: Guard, the_plan: plan.Plan, settings: LocalSettings, output: Output) -> None:
        self._guard = guard
        self._logs_folder = the_plan.logs
        self._trim_at = 0.0
        telling = {"ingest", "worker"} if settings.development else set()
        names = (name for name, roles in the_plan.processes.items() if telling & {*roles})
        self._watch = Watch(the_plan.logs / f"{name}.log" for name in names)
        self._output = output

    def run(self) -> None:
        """Do all tasks once; called at every tick of the supervisor."""
        self._guard.ensure_running()
        for line in self._watch.news():
            self._output.step(line)
        if time.monotonic() >= self._trim_at:
            logs.trim(self._logs_folder)
            self._trim_at = time.monotonic() + LOGS_INTERVAL_SECONDS


if __name__ == "__main__":
    main()
