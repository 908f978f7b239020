"""One asyncio loop on a thread of its own, for what speaks D-Bus or to the notification centre."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")
SECONDS = 1.0  # for what is at work to end, when the loop does


class LoopThread:
    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="loop", daemon=True)
        self._thread.start()

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Raises RuntimeError when the loop was stopped."""
        try:
            return asyncio.run_coroutine_threadsafe(work, self.loop)
        except RuntimeError:
            work.close()
            raise

    def soon(self, job: Callable[[], object]) -> None:
        """Run *job* there, unless the loop was stopped."""
        try:
            self.loop.call_soon_threadsafe(job)
        except RuntimeError:
            pass  # closed: nobody is left to see it

    def stop(self) -> None:
        """What is at work is cancelled."""
        self.soon(self.loop.stop)
        self._thread.join(2 * SECONDS)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()
        tasks = asyncio.all_tasks(self.loop)
        for task in tasks:
            task.cancel()
        if tasks:
            self.loop.run_until_complete(asyncio.wait(tasks, timeout=SECONDS))
        self.loop.close()
