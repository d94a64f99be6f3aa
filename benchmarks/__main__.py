"""All benchmarks: python -m benchmarks. Some scenarios only: python -m benchmarks one-sender block"""

import sys

from benchmarks import pir, scenarios

scenarios.main()
if not sys.argv[1:]:
    pir.main()
