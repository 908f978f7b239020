"""A snapshot with the questions that several rules ask of it. Pure."""

from __future__ import annotations

import ntpath
import os
import posixpath
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from types import ModuleType

from packaging.version import InvalidVersion, Version

from tfgpu_tray.diagnose.pin import Pin, pin_of
from tfgpu_tray.knowledge.log_lines import Sign, signs
from tfgpu_tray.knowledge.releases import NATIVE_WINDOWS_LAST, Release, release
from tfgpu_tray.model import (
    Confidence,
    Distribution,
    HookScript,
    Library,
    LibraryState,
    Outcome,
    Snapshot,
)

NVML_LIBRARY = "libnvidia-ml.so.1"  # the driver's, not CUDA's
ZLIB = "zlibwapi.dll"  # cuDNN's helper on Windows, which TensorFlow does not ask for itself


class Weight(IntEnum):
    REMARK = 0  # worth a line, changes no verdict
    BLEMISH = 1  # a fault that does not by itself take the GPU away
    EXPLAINS = 2  # this alone keeps TensorFlow from using the GPU


@dataclass(frozen=True, slots=True)
class Finding:
    """What one rule concluded, before roles are given."""

    cause: str
    confidence: Confidence
    evidence: tuple[str, ...]
    weight: Weight = Weight.EXPLAINS
    summary: str | None = None  # instead of the cause's title


def certain(cause: str, *evidence: str, summary: str | None = None) -> Finding:
    return Finding(cause, Confidence.CERTAIN, evidence, summary=summary)


def likely(cause: str, *evidence: str, summary: str | None = None) -> Finding:
    return Finding(cause, Confidence.LIKELY, evidence, summary=summary)


def blemish(cause: str, *evidence: str, summary: str | None = None) -> Finding:
    return Finding(cause, Confidence.CERTAIN, evidence, Weight.BLEMISH, summary)


def remark(cause: str, *evidence: str) -> Finding:
    return Finding(cause, Confidence.CERTAIN, evidence, Weight.REMARK)


@dataclass(frozen=True)
class Case:
    snapshot: Snapshot

    # ---- the system --------------------------------------------------------------------------

    @property
    def on_windows(self) -> bool:
        return self.snapshot.host.system == "windows"

    @property
    def rules(self) -> ModuleType:
        """How paths are written there."""
        return ntpath if self.on_windows else posixpath

    def same(self, path: str) -> str:
        """*path* as it compares with others: links followed, and case aside on Windows."""
        if self.on_windows and sys.platform != "win32":  # replayed elsewhere
            return ntpath.normcase(ntpath.normpath(path))
        return os.path.normcase(os.path.realpath(path))

    def within(self, path: str, folder: str) -> bool:
        """Whether *path* lies below *folder*."""
        return self.same(path).startswith(self.same(folder).rstrip("/\\") + self.rules.sep)

    @property
    def prefix(self) -> str:
        return str(self.snapshot.environment.prefix)

    @property
    def shells(self) -> tuple[str, ...]:
        """The shells whose hooks count here."""
        return ("cmd", "powershell") if self.on_windows else ("posix",)

    # ---- the GPU -----------------------------------------------------------------------------

    @property
    def gpu_visible(self) -> bool | None:
        """What TensorFlow itself said; None when it was not asked or did not answer."""
        answer = self.snapshot.tensorflow
        if answer is None:
            return None
        if answer.gpus is not None:
            return bool(answer.gpus)
        return None if answer.outcome is Outcome.TIMED_OUT else False

    @property
    def was_asked(self) -> bool:
        return self.snapshot.tensorflow is not None

    @property
    def import_error(self) -> str | None:
        """The text of a failed `import tensorflow`."""
        answer = self.snapshot.tensorflow
        if answer is None or answer.version is not None or answer.error is None:
            return None
        return f"{answer.error_type}: {answer.error}" if answer.error_type else answer.error

    @cached_property
    def signs(self) -> tuple[Sign, ...]:
        return tuple(signs(self.snapshot.tensorflow.log)) if self.snapshot.tensorflow else ()

    def sign(self, identifier: str) -> Sign | None:
        return next((s for s in self.signs if s.id == identifier), None)

    @property
    def capabilities(self) -> list[str]:
        return [
            g.compute_capability for g in self.snapshot.driver.gpus or () if g.compute_capability
        ]

    # ---- TensorFlow --------------------------------------------------------------------------

    @property
    def tensorflow(self) -> Distribution | None:
        return self.snapshot.packages.effective

    @property
    def origin(self) -> list[str]:
        """Who brought this TensorFlow in, as an evidence line; nothing when metadata is silent."""
        found = self.tensorflow
        if found is None or found.installer is None:
            return []
        if found.requested:
            return [f"{found.installer} was asked for {found.name} by name"]
        if found.required_by:
            return [f"{found.installer} brought it in for {', '.join(found.required_by)}"]
        return [f"{found.installer} installed it"]

    @cached_property
    def version(self) -> str | None:
        """What `import tensorflow` gives: TensorFlow's own word, else the metadata's."""
        answer = self.snapshot.tensorflow
        if answer is not None and answer.version:
            return answer.version
        return self.tensorflow.version if self.tensorflow else None

    @cached_property
    def release(self) -> Release | None:
        return release(self.version) if self.version else None

    @cached_property
    def beyond_windows(self) -> bool:
        """Whether this TensorFlow has no GPU on native Windows, whatever else is done there."""
        if not self.on_windows or self.version is None:
            return False
        try:
            return Version(self.version).release[:2] > NATIVE_WINDOWS_LAST.release
        except InvalidVersion:
            return False

    @cached_property
    def pin(self) -> Pin | None:
        return pin_of(self.snapshot)

    @property
    def outside_pin(self) -> bool:
        if self.pin is None or self.version is None:
            return False
        try:
            return Version(self.version) not in self.pin.specifier
        except InvalidVersion:
            return False

    # ---- libraries ---------------------------------------------------------------------------

    @cached_property
    def libraries(self) -> tuple[Library, ...]:
        """The CUDA libraries; what TensorFlow said of them overrules what we tried ourselves."""
        if self.snapshot.libraries is None:
            return ()
        refused = {s.groups["library"]: s for s in self.signs if s.id == "library-not-loaded"}
        return tuple(
            self._overruled(library, refused.get(library.soname))
            for library in self.snapshot.libraries.libraries
            if library.soname not in (NVML_LIBRARY, ZLIB)
        )

    @property
    def zlib(self) -> Library | None:
        """cuDNN's helper on Windows, where it was looked for."""
        found = self.snapshot.libraries.libraries if self.snapshot.libraries else ()
        return next((library for library in found if library.soname == ZLIB), None)

    def _overruled(self, library: Library, refused: Sign | None) -> Library:
        if refused is None or library.state is not LibraryState.FOUND:
            return library
        state = LibraryState.UNREACHABLE if library.candidates else LibraryState.MISSING
        return Library(
            library.soname,
            state,
            library.path,
            library.candidates,
            library.relatives,
            refused.groups.get("error"),
        )

    def in_state(self, *states: LibraryState) -> list[Library]:
        return [library for library in self.libraries if library.state in states]

    @property
    def libraries_found(self) -> bool:
        return bool(self.libraries) and len(self.in_state(LibraryState.FOUND)) == len(
            self.libraries
        )

    # ---- loader path -------------------------------------------------------------------------

    @property
    def loader_variable(self) -> str:
        """The variable that lists the folders in which the loader looks."""
        return "PATH" if self.on_windows else "LD_LIBRARY_PATH"

    @property
    def loader_path(self) -> list[str]:
        """The loader path after activation."""
        return self._loader_path("environ")

    @property
    def session_loader_path(self) -> list[str]:
        return self._loader_path("base")

    def _loader_path(self, which: str) -> list[str]:
        activation = self.snapshot.hooks.activation
        environ = getattr(activation, which) if activation else {}
        separator = ";" if self.on_windows else ":"
        return [p for p in environ.get(self.loader_variable, "").split(separator) if p]

    def added_by_hook(self, folder: str) -> bool:
        """Whether activation, not the session, put *folder* on the loader path."""
        return self._names(self.loader_path, folder) and not self._names(
            self.session_loader_path, folder
        )

    def _names(self, folders: Iterable[str], folder: str) -> bool:
        return any(self.same(f) == self.same(folder) for f in folders)

    @property
    def scripts(self) -> list[HookScript]:
        """The hooks that an activation here runs."""
        return [s for s in self.snapshot.hooks.scripts if s.shell in self.shells and not s.stray]

    def hooks_naming(self, folder: str) -> list[HookScript]:
        """Hook scripts, ours left out, that put *folder* on the loader path."""
        return [s for s in self.scripts if not s.ours and self._names(s.folders, folder)]
