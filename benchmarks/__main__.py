"""All benchmarks: python -m benchmarks [scenario ...]"""

from benchmarks.scenarios import main

main()
