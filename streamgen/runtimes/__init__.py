"""Running networks: two runtimes behind one protocol, the measured choice, other people's files."""

import os
import sys

# Both runtimes report to their makers when they are imported: OpenVINO by a forked process to
# Google Analytics, ONNX Runtime by a thread to Microsoft; both leave an identity in the user's
# home. What a user of streamgen does is nobody's business.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
