"""`python -m afina`"""

import os
import signal

# Ctrl-C while Python still reads code: nothing is begun, and nothing needs saying.
signal.signal(signal.SIGINT, lambda _number, _frame: os._exit(130))

from afina.cli import main  # noqa: E402

main()
