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


def test_a_verb_that_needs_an_extra_names_it(tmp_path):
    """Nobody should read a traceback because a package is not there."""
    code = (
        "import sys\n"
        f"sys.modules.update(dict.fromkeys({EXTRAS!r}))\n"
        "import afina\n"
        "from afina.errors import MissingExtra\n"
        "from afina.registry.store import Registry\n"
        "from afina.registry.lock import _marked\n"
        "store = Registry('sqlite:///store.db')\n"
        "for verb in (\n"
        "    lambda: afina.new_signer('ana', protect=False, trust='keys'),\n"
        "    lambda: afina.new_recipient('ana', folder='keys'),\n"
        "    lambda: store.make_model('my'),\n"
        "    lambda: store._get('my'),\n"
        "    lambda: _marked(store, 'my.lock', 'ana').__enter__(),\n"
        "):\n"
        "    try:\n        verb()\n"
        "    except MissingExtra as error:\n        print(error.fix)\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=600, cwd=tmp_path
    )
    hints = [
        "pip install 'afina[sign]'",
        "pip install 'afina[seal]'",
        *["pip install 'afina[track]'"] * 3,
    ]
    assert (found.returncode, found.stdout.splitlines()) == (0, hints), found.stderr
