"""Afina works where no extra is installed: the base install is what `make demo` has."""

from __future__ import annotations

import subprocess
import sys

EXTRAS = (
    "lm_eval", "datasets", "rouge_score", "sacrebleu", "presidio_analyzer", "spacy", "bitsandbytes",
    "mlflow", "tensorboardX", "deepspeed", "ray", "liger_kernel", "cryptography", "model_signing",
    "OpenSSL", "onnx", "onnx_ir", "onnxruntime", "onnxruntime_genai", "codecarbon", "pynvml",
)  # fmt: skip


def test_every_stage_is_imported_without_any_extra():
    code = (
        "import sys\n"
        f"sys.modules.update(dict.fromkeys({EXTRAS!r}))\n"  # None: importing one of them fails
        "import afina.api, afina.workflow, afina.cli.app\n"
        "afina.cli.app.build_app()\n"
        "from afina.suites.tasks import require_harness\n"
        "from afina.errors import MissingExtra\n"
        "try:\n    require_harness()\n"
        "except (MissingExtra, ValueError):\n    print('told')\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (found.returncode, found.stdout.strip()) == (0, "told"), found.stderr
