"""Asks the environment's own TensorFlow what it is and which GPUs it sees."""

from __future__ import annotations

import json
import os
import sys
from typing import Any, Dict, List, Tuple

# The script's own folder must not be importable: TensorFlow's users' names live there.
sys.path[:] = [p for p in sys.path if p != os.path.dirname(os.path.abspath(__file__))]


def say(**facts: object) -> None:
    sys.stdout.write("\n@tfgpu " + json.dumps(facts, default=str) + "\n")
    sys.stdout.flush()


def list_gpus(tf: Any) -> Tuple[List[str], List[Any]]:
    """The visible GPUs, through the newest of the three ways that this TensorFlow offers."""
    lister = getattr(tf.config, "list_physical_devices", None)
    if lister is None:  # TensorFlow 2.0
        lister = getattr(getattr(tf.config, "experimental", None), "list_physical_devices", None)
    if lister is not None:
        devices = lister("GPU")
        return [str(device.name) for device in devices], devices
    return (["/device:GPU:0"] if tf.test.is_gpu_available() else []), []


def build_facts(tf: Any) -> Dict[str, object]:
    """CUDA facts of the build; every key is optional, 2.22 dropped several."""
    facts: Dict[str, object] = {}
    try:
        info = tf.sysconfig.get_build_info()  # from 2.3
        facts = {
            "build_cuda": info.get("cuda_version"),
            "build_cudnn": info.get("cudnn_version"),
            "rocm_build": info.get("is_rocm_build"),
        }
    except Exception:
        pass
    facts["cuda_build"] = bool(tf.test.is_built_with_cuda())
    return facts


def capabilities(tf: Any, devices: List[Any]) -> List[str]:
    found = []
    for device in devices:
        try:
            details = tf.config.experimental.get_device_details(device)
            found.append("{}.{}".format(*details["compute_capability"]))
        except Exception:  # before 2.4, or a device that will not say
            pass
    return found


def main() -> None:
    say(stage="import")
    try:
        import tensorflow as tf
    except BaseException as error:  # an import may raise anything, SystemExit included
        say(error_type=type(error).__name__, error=str(error))
        return
    say(stage="imported", version=getattr(tf, "__version__", None), file=tf.__file__)
    try:
        say(**build_facts(tf))
        say(stage="devices")
        names, devices = list_gpus(tf)
        say(gpus=names, stage="details")
        say(capabilities=capabilities(tf, devices), stage="done")
    except BaseException as error:
        say(error_type=type(error).__name__, error=str(error))


if __name__ == "__main__":
    main()
