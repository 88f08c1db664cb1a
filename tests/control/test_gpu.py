"""What a worker finds of an NVIDIA GPU: as the driver answers, hangs, dies, or is not there. The
driver is built here, with the few functions that are called; the rest is real."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from streamgen.control.gpu import Gpu, probe
from streamgen.control.node import capacity
from streamgen.control.placement.resources import Resources

CUDA = """
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
int cuInit(unsigned flags) {
    if (getenv("FAKE_HANGS")) for (;;) pause();
    if (getenv("FAKE_DIES")) abort();
    return getenv("FAKE_BROKEN") ? 999 : 0;
}
int cuDeviceGetCount(int *count) {
    const char *visible = getenv("CUDA_VISIBLE_DEVICES");
    *count = 2;
    if (visible) {
        *count = *visible != 0;
        for (; *visible; visible++) *count += *visible == ',';
    }
    return 0;
}
int cuDeviceGet(int *device, int number) { *device = number; return 0; }
int cuDeviceGetName(char *name, int room, int device) {
    strncpy(name, "NVIDIA Fake", room); return 0;
}
int cuDeviceTotalMem_v2(size_t *bytes, int device) {
    *bytes = (size_t)24564 << 20; return 0;
}
int cuDeviceGetUuid_v2(unsigned char *uuid, int device) {
    for (int i = 0; i < 16; i++) uuid[i] = i * 0x11;
    return 0;
}
"""
NVML = """
#include <stdlib.h>
#include <string.h>
static int mig;
int nvmlInit_v2(void) { return 0; }
int nvmlDeviceGetHandleByUUID(const char *uuid, void **device) {
    mig = getenv("FAKE_MIG") != 0;
    *device = &mig;
    if (strncmp(uuid, mig ? "MIG-" : "GPU-", 4)) return 6;
    return strcmp(uuid + 4, "00112233-4455-6677-8899-aabbccddeeff") ? 6 : 0;
}
int nvmlDeviceGetAttributes_v2(void *device, unsigned *attributes) {
    for (int i = 0; i < 8; i++) attributes[i] = 0;
    attributes[2] = 2;  /* decoders; no encoders */
    return device == &mig ? 0 : 2;
}
int nvmlDeviceGetDecoderUtilization(void *device, unsigned *share, unsigned *period) {
    *share = 0; return 0;
}
int nvmlDeviceGetEncoderCapacity(void *device, int codec, unsigned *share) {
    if (getenv("FAKE_NO_ENCODER")) return 3;
    *share = 100;
    return 0;
}
"""
needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler (cc)")


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("driver")
    for name, source in (("libcuda.so.1", CUDA), ("libnvidia-ml.so.1", NVML)):
        command = ["cc", "-shared", "-fPIC", "-w", "-x", "c", "-", "-o", str(folder / name)]
        subprocess.run(command, input=source.encode(), check=True)
    return folder


def installed(monkeypatch: pytest.MonkeyPatch, driver: Path, **environment: str) -> None:
    path = f"{driver}:{os.environ.get('LD_LIBRARY_PATH', '')}".rstrip(":")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for name, value in {"LD_LIBRARY_PATH": path, **environment}.items():
        monkeypatch.setenv(name, value)


@pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="this machine has an NVIDIA driver")
def test_without_a_driver_it_says_so_and_a_worker_offers_no_gpu() -> None:
    found = probe()
    assert isinstance(found, str) and "libcuda" in found
    assert (capacity().gpu_ms, capacity().encoder_ms, capacity().gpu_memory_mb) == (0, 0, 0)


@needs_compiler
def test_a_gpu_is_found_with_its_memory_and_engines(
    monkeypatch: pytest.MonkeyPatch, driver: Path
) -> None:
    installed(monkeypatch, driver)
    found = probe()
    assert found == Gpu("NVIDIA Fake", 24564, 1, 1, visible=2)
    monkeypatch.setenv("FAKE_NO_ENCODER", "1")  # it decodes and does not encode
    assert probe() == Gpu("NVIDIA Fake", 24564, 1, 0, visible=2)


@needs_compiler
def test_an_instance_of_mig_has_the_engines_that_it_was_given(
    monkeypatch: pytest.MonkeyPatch, driver: Path
) -> None:
    installed(monkeypatch, driver, FAKE_MIG="1")
    assert probe() == Gpu("NVIDIA Fake", 24564, 2, 0, visible=2)


@needs_compiler
def test_only_what_cuda_shows_to_this_process_is_there(
    monkeypatch: pytest.MonkeyPatch, driver: Path
) -> None:
    installed(monkeypatch, driver, CUDA_VISIBLE_DEVICES="1")
    found = probe()
    assert isinstance(found, Gpu) and found.visible == 1
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert probe() == "a driver, but no GPU"


@needs_compiler
def test_a_driver_that_hangs_or_dies_or_does_not_start_is_none(
    monkeypatch: pytest.MonkeyPatch, driver: Path
) -> None:
    installed(monkeypatch, driver, FAKE_HANGS="1")
    assert probe(timeout_s=1.0) == "the driver did not answer within 1 s"
    monkeypatch.delenv("FAKE_HANGS")
    monkeypatch.setenv("FAKE_DIES", "1")
    found = probe()
    assert isinstance(found, str) and "ended with status -6" in found
    monkeypatch.delenv("FAKE_DIES")
    monkeypatch.setenv("FAKE_BROKEN", "1")
    assert probe() == "the driver does not start (CUDA error 999)"


@needs_compiler
def test_without_nvml_no_engines_are_claimed(
    monkeypatch: pytest.MonkeyPatch, driver: Path, tmp_path: Path
) -> None:
    (tmp_path / "libcuda.so.1").symlink_to(driver / "libcuda.so.1")
    installed(monkeypatch, tmp_path)
    assert probe() == Gpu("NVIDIA Fake", 24564, 0, 0, visible=2)


def test_a_gpu_is_shared_by_the_workers_that_have_the_same_and_by_no_others() -> None:
    gpu = Gpu("NVIDIA Fake", 24000, decoders=2, encoders=1, visible=1)
    alone, half, own = capacity(1, gpu), capacity(2, gpu, gpu_share=2), capacity(2, gpu)
    on_it = Resources(gpu_ms=1000, gpu_memory_mb=24000, decoder_ms=2000, encoder_ms=1000)
    assert alone == capacity() + on_it
    assert own == capacity(2) + on_it
    assert half == capacity(2) + Resources(
        gpu_ms=500, gpu_memory_mb=12000, decoder_ms=1000, encoder_ms=500
    )
