"""C libraries for LD_PRELOAD, compiled for the processes of a test."""

import subprocess
from pathlib import Path

HERE = Path(__file__).parent


def preloaded(name: str, directory: Path) -> Path:
    """Compile the C file `name` beside this module, and return the library in `directory`."""
    library = directory / f"{name}.so"
    command = ["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror"]
    subprocess.run([*command, "-o", library, HERE / f"{name}.c", "-ldl"], check=True)
    return library
