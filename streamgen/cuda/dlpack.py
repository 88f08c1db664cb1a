"""`exported`: a plane as a DLPack capsule, wherever it lies: libav and torch take memory so.

https://dmlc.github.io/dlpack/latest/c_api.html, the tensor without a version, which PyAV wants.
"""

from __future__ import annotations

import ctypes
from typing import Any

from streamgen.media.frame import Plane

DEVICES = {"cpu": 1, "cuda": 2}
"""`DLDeviceType`."""
UNSIGNED = 1
"""`kDLUInt`."""
NAME = b"dltensor"
"""Of a capsule that nobody has taken; whoever takes it renames it, and calls the deleter."""


class _Tensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


_Deleter = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class _Managed(ctypes.Structure):
    _fields_ = (("tensor", _Tensor), ("context", ctypes.c_void_p), ("deleter", _Deleter))


class _Lent:
    """What a capsule points to, and what keeps the pixels there."""

    def __init__(self, plane: Plane) -> None:
        self.plane = plane
        self.sizes = (ctypes.c_int64 * 2)(*plane.shape)
        self.steps = (ctypes.c_int64 * 2)(plane.pitch // plane.itemsize, 1)
        tensor = _Tensor(
            data=plane.ptr,
            device_type=DEVICES[plane.device.type],
            device_id=plane.device.index,
            ndim=2,
            code=UNSIGNED,
            bits=8 * plane.itemsize,
            lanes=1,
            shape=self.sizes,
            strides=self.steps,
        )
        self.managed = _Managed(tensor, id(self), _RELEASED)


def _released(address: int) -> None:
    """From any thread, maybe without the GIL: ctypes takes it."""
    lent = ctypes.cast(_Managed.from_address(address).context, ctypes.py_object)
    ctypes.pythonapi.Py_DecRef(lent)


def _dropped(capsule: int) -> None:
    """A capsule is gone: if nobody took it, so is what it lent."""
    if _python.PyCapsule_IsValid(capsule, NAME):
        _released(_python.PyCapsule_GetPointer(capsule, NAME))


_RELEASED = _Deleter(_released)
_DROPPED = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)(_dropped)
_python = ctypes.PyDLL(None)
_python.PyCapsule_New.restype = ctypes.py_object
_python.PyCapsule_New.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
_python.PyCapsule_IsValid.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
_python.PyCapsule_GetPointer.restype = ctypes.c_void_p
_python.PyCapsule_GetPointer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]


def exported(plane: Plane) -> Any:
    """A capsule of rows and columns over the plane's memory, which it keeps until it is released.

    Nothing is waited for: its pixels are there, or whoever takes it knows when they will be.
    """
    lent = _Lent(plane)
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(lent))
    return _python.PyCapsule_New(ctypes.addressof(lent.managed), NAME, _DROPPED)
