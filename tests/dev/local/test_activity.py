"""What the terminal of `make run` shows from the logs."""

from pathlib import Path

from dev.local import logs
from dev.local.logs import Watch


def line(text: str) -> str:
    return f"2026-11-29T12:41:19.618482Z [info     ] {text:<30} [activity] role=worker\n"


def test_lines_that_come_are_shown_once(tmp_path: Path) -> None:
    path = tmp_path / "worker.log"
    path.write_text(line("of an earlier run"))
    watch = Watch([path, tmp_path / "ingest.log"])
    assert list(watch.news()) == []
    with path.open("a") as log:
        log.write(
            line("one")
            + "2026-11-29T12:41:26Z [info     ] stopping      [services.platform.process.lifecycle] role=worker\n"
        )
        log.write(line("two")[:40])
        log.flush()
        assert list(watch.news()) == ["one"]
        log.write(line("two")[40:])
    (tmp_path / "ingest.log").write_text(line("three"))
    assert list(watch.news()) == ["two", "three"]
    assert list(watch.news()) == []


def test_a_log_that_was_trimmed_is_read_from_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "worker.log"
    path.write_text("x" * 1000)
    watch = Watch([path])
    path.write_text(line("after"))
    assert list(watch.news()) == ["after"]


def test_log_that_grows_fast_is_read_from_its_end(tmp_path: Path) -> None:
    path = tmp_path / "worker.log"
    watch = Watch([path])
    path.write_text(line("long ago") + "x" * logs.MAX_BYTES + "\n" + line("now"))
    assert list(watch.news()) == ["now"]
