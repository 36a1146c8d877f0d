"""A Jupyter kernel whose loop is boucle's. ``python -m boucle.kernel -f FILE`` is what Jupyter starts.

Needs ipykernel.
"""

import json
import os
import sys
import tempfile

SPEC = {
    "argv": [sys.executable, "-m", "boucle.kernel", "-f", "{connection_file}"],
    "display_name": "Python (boucle)",
    "language": "python",
    "metadata": {"debugger": True},
}


def install_spec(user=False, prefix=None):
    """Add the kernel "Python (boucle)": for this Python environment, or for the user, or under a prefix.

    Returns its folder. Raises ValueError where Jupyter is not installed.
    """
    try:
        from jupyter_client.kernelspec import KernelSpecManager
    except ImportError:
        raise ValueError("Jupyter is not installed here: pip install ipykernel") from None
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "kernel.json"), "w") as file:
            json.dump(SPEC, file, indent=1)
        if not user and prefix is None:
            prefix = sys.prefix
        return KernelSpecManager().install_kernel_spec(folder, "boucle", user=user, prefix=prefix)


def main():
    """Run the kernel, on boucle."""
    import boucle

    boucle.install()
    from ipykernel.kernelapp import IPKernelApp

    # The magic %%chronology.
    IPKernelApp.launch_instance(extra_extensions=["boucle"])


if __name__ == "__main__":
    main()
