"""The C++ compiler that `torch.compile` calls. Without torch, which takes seconds to import."""

from __future__ import annotations

import os
import shutil
import sysconfig
from pathlib import Path


def compiler_name() -> str:
    """Returns what inductor calls: CXX, else g++. It looks for no other, such as clang++."""
    return os.environ.get("CXX") or "g++"


def has_compiler() -> bool:
    return shutil.which(compiler_name()) is not None and has_python_headers()


def has_python_headers() -> bool:
    """Whether a module for this Python can be compiled, which inductor needs, too."""
    return Path(sysconfig.get_path("include"), "Python.h").is_file()
