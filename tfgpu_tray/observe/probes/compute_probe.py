"""Lets the GPU compute something small and checks the result.

First through the driver alone (a tiny PTX kernel), then through TensorFlow (matrix product and
convolution). A listed GPU can still run nothing: a vGPU without a licence, kernels older than the
card, a cuDNN newer than the card.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from typing import Any, List

# The script's own folder must not be importable: TensorFlow's users' names live there.
sys.path[:] = [p for p in sys.path if p != os.path.dirname(os.path.abspath(__file__))]

# y[i] = a * x[i] + y[i]; PTX 6.0 for compute capability 3.0 runs on every card since Kepler.
PTX = b"""
.version 6.0
.target sm_30
.address_size 64
.visible .entry saxpy(.param .u64 px, .param .u64 py, .param .f32 pa, .param .u32 pn)
{
  .reg .pred %p; .reg .f32 %f<4>; .reg .b32 %r<6>; .reg .b64 %d<6>;
  ld.param.u64 %d0, [px]; ld.param.u64 %d1, [py]; ld.param.f32 %f0, [pa]; ld.param.u32 %r0, [pn];
  mov.u32 %r1, %ctaid.x; mov.u32 %r2, %ntid.x; mov.u32 %r3, %tid.x;
  mad.lo.s32 %r4, %r1, %r2, %r3;
  setp.ge.u32 %p, %r4, %r0;
  @%p bra END;
  cvta.to.global.u64 %d0, %d0; cvta.to.global.u64 %d1, %d1;
  mul.wide.u32 %d2, %r4, 4;
  add.s64 %d3, %d0, %d2; add.s64 %d4, %d1, %d2;
  ld.global.f32 %f1, [%d3]; ld.global.f32 %f2, [%d4];
  fma.rn.f32 %f3, %f0, %f1, %f2;
  st.global.f32 [%d4], %f3;
END:
  ret;
}
\0"""
COUNT = 1 << 16


def say(**facts: object) -> None:
    sys.stdout.write("\n@tfgpu " + json.dumps(facts, default=str) + "\n")
    sys.stdout.flush()


class DriverError(Exception):
    pass


class Cuda:
    """The few calls of the CUDA driver API that one kernel needs; raises DriverError."""

    def __init__(self) -> None:
        self.library = ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")

    def call(self, name: str, *arguments: Any) -> None:
        code = getattr(self.library, name)(*arguments)
        if code:
            text = ctypes.c_char_p()
            self.library.cuGetErrorName(code, ctypes.byref(text))
            known = (text.value or b"unknown error").decode()
            raise DriverError("{} failed with {} ({})".format(name, code, known))


def driver_kernel() -> bool:
    cuda = Cuda()
    cuda.call("cuInit", 0)
    device, context = ctypes.c_int(), ctypes.c_void_p()
    cuda.call("cuDeviceGet", ctypes.byref(device), 0)
    cuda.call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
    try:
        cuda.call("cuCtxSetCurrent", context)
        return _saxpy(cuda)
    finally:
        cuda.library.cuDevicePrimaryCtxRelease_v2(device)


def _saxpy(cuda: Cuda) -> bool:
    module, kernel = ctypes.c_void_p(), ctypes.c_void_p()
    cuda.call("cuModuleLoadData", ctypes.byref(module), PTX)
    cuda.call("cuModuleGetFunction", ctypes.byref(kernel), module, b"saxpy")
    floats = ctypes.c_float * COUNT
    x, y = floats(*range(COUNT)), floats(*([1.0] * COUNT))
    size = ctypes.c_size_t(ctypes.sizeof(floats))
    on_device: List[Any] = [ctypes.c_uint64(), ctypes.c_uint64()]
    for pointer, values in zip(on_device, (x, y)):
        cuda.call("cuMemAlloc_v2", ctypes.byref(pointer), size)
        cuda.call("cuMemcpyHtoD_v2", pointer, values, size)
    arguments = [on_device[0], on_device[1], ctypes.c_float(2.0), ctypes.c_uint32(COUNT)]
    addresses = [ctypes.cast(ctypes.byref(a), ctypes.c_void_p) for a in arguments]
    parameters = (ctypes.c_void_p * len(arguments))(*addresses)
    grid = (COUNT + 255) // 256
    cuda.call("cuLaunchKernel", kernel, grid, 1, 1, 256, 1, 1, 0, None, parameters, None)
    cuda.call("cuCtxSynchronize")
    result = floats()
    cuda.call("cuMemcpyDtoH_v2", result, on_device[1], size)
    for pointer in on_device:
        cuda.call("cuMemFree_v2", pointer)
    return all(result[i] == 2.0 * i + 1.0 for i in range(0, COUNT, 97))


def through_tensorflow() -> None:
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        say(error="TensorFlow lists no GPU")
        return
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    tf.debugging.set_log_device_placement(False)
    with tf.device("/GPU:0"):
        eye = tf.linalg.matmul(tf.fill([64, 64], 0.5), tf.eye(64) * 2.0)
        say(matmul=bool(abs(float(tf.reduce_sum(eye)) - 4096.0) < 1e-2), stage="convolution")
        image = tf.ones([1, 8, 8, 1])
        convolved = tf.nn.conv2d(image, tf.ones([3, 3, 1, 1]), strides=1, padding="VALID")
        say(convolution=bool(abs(float(tf.reduce_sum(convolved)) - 324.0) < 1e-2), stage="done")


def main() -> None:
    say(stage="driver")
    try:
        say(driver_kernel=driver_kernel())
    except (OSError, AttributeError, DriverError) as error:
        say(driver_kernel=False, driver_error=str(error))
    if sys.argv[1:] == ["--driver-only"]:
        return
    say(stage="matmul")
    try:
        through_tensorflow()
    except BaseException as error:
        say(error="{}: {}".format(type(error).__name__, error)[:2000])


if __name__ == "__main__":
    main()
