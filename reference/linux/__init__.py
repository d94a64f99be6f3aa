"""The kernel's own source as an implementation: real files and functions of a tree, compiled against stub headers of ours.

    tree (a folder, or Debian's package) ── tree.py ──> text of the files, release
    whole files, or functions by name ───── slice.py ─> C with the kernel's file names and lines
    stub/ (every architecture's), x86/, arm64/ ───────> headers and harness
                                   program.py ────────> a native program, and what the reference fills beside it

None of the kernel's text is here.
"""
