"""Progress of long work: live in a terminal, plain lines without one. Always on standard error; results go to standard output."""

import sys
import threading
import time
from typing import IO, Protocol


class Progress(Protocol):
    """What long work tells while it runs."""

    def begin(self, step: str) -> None:
        """A step has begun."""

    def end(self, step: str, seconds: float, note: str = "") -> None:
        """A step is done after `seconds`."""

    def fail(self, step: str, seconds: float, cause: str) -> None:
        """A step failed."""

    def close(self) -> None:
        """No more steps follow."""


class Lines:
    """One line per finished step, with the seconds since the work began."""

    def __init__(self, stream: IO[str] | None = None) -> None:
        self._stream = stream or sys.stderr
        self._started = time.monotonic()
        self._lock = threading.Lock()

    def begin(self, step: str) -> None:
        """Plain lines tell only what has ended."""

    def end(self, step: str, seconds: float, note: str = "") -> None:
        self._line(f"{step:<34} {seconds:6.1f} s  {note}".rstrip())

    def fail(self, step: str, seconds: float, cause: str) -> None:
        self._line(f"{step:<34} {seconds:6.1f} s  FAILED: {cause.splitlines()[0] if cause else ''}")

    def close(self) -> None:
        """Nothing to take down."""

    def _line(self, text: str) -> None:
        with self._lock:
            print(
                f"[{time.monotonic() - self._started:6.1f}] {text}", file=self._stream, flush=True
            )


class Live:
    """Finished steps as lines, and below them what is being worked on now."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live as RichLive

        self._console = Console(stderr=True, highlight=False)
        self._live = RichLive(console=self._console, refresh_per_second=4, transient=True)
        self._running: dict[str, float] = {}
        self._lock = threading.Lock()
        self._live.start()

    def begin(self, step: str) -> None:
        with self._lock:
            self._running[step] = time.monotonic()
            self._draw()

    def end(self, step: str, seconds: float, note: str = "") -> None:
        self._finish(step, f"[green]ok[/green]   {step:<34} {seconds:6.1f} s  [dim]{note}[/dim]")

    def fail(self, step: str, seconds: float, cause: str) -> None:
        first = cause.splitlines()[0] if cause else ""
        self._finish(step, f"[red]FAIL[/red] {step:<34} {seconds:6.1f} s  {first}")

    def close(self) -> None:
        self._live.stop()

    def _finish(self, step: str, line: str) -> None:
        with self._lock:
            self._running.pop(step, None)
            self._live.console.print(line)
            self._draw()

    def _draw(self) -> None:
        waiting = ", ".join(self._running)
        self._live.update(f"[dim]...  {waiting}[/dim]" if waiting else "")


class Silent:
    """For tests and programs that look only at the result."""

    def begin(self, step: str) -> None: ...

    def end(self, step: str, seconds: float, note: str = "") -> None: ...

    def fail(self, step: str, seconds: float, cause: str) -> None: ...

    def close(self) -> None: ...


def fitting() -> Progress:
    """Live if standard error is a terminal, lines otherwise."""
    return Live() if sys.stderr.isatty() else Lines()
