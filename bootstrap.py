"""Set up and run: `python3 bootstrap.py VERB [ARGS]`. Standard library only; `make VERB` calls this.

Verbs: demo test lint type docs bench lock wheelhouse clean
Options before the verb's own arguments: --no-torch, --cuda, --offline FOLDER
Makes `.venv` beside this file once, installs what the verb needs, and passes its exit code on. The
syntax parses on Python 3.8, so that an old Python gets a sentence instead of a syntax error.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
VENV = os.path.join(HERE, ".venv")
BIN = os.path.join(VENV, "Scripts" if os.name == "nt" else "bin")
PYTHON = os.path.join(BIN, "python")
STAMP = os.path.join(VENV, "cohortium-stamp.json")
TORCH = "torch==2.13.0"
CPU_INDEX = ["--index-url", "https://download.pytorch.org/whl/cpu"]
EXTRA = {"demo": "demo", "test": "dev", "lint": "dev", "type": "dev", "docs": "dev", "bench": "dev", "lock": "dev"}

COMMANDS = {
    "demo": [["-m", "cohortium.cli", "demo"]],
    "test": [["-m", "pytest", "-n", "auto", "-m", "not slow"]],
    "lint": [["-m", "ruff", "format", "--check", "."], ["-m", "ruff", "check", "."], ["{bin}/lint-imports"]],
    "type": [["-m", "mypy"]],
    "docs": [["-m", "pytest", "-q", "tests/house/test_docs.py"]],
    "bench": [["-m", "benchmarks"]],
}


def say(text):
    print(text, file=sys.stderr, flush=True)


def stop(text, code=2):
    say(text)
    sys.exit(code)


def check_python():
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        stop(
            "cohortium needs Python 3.11, 3.12 or 3.13; this is %d.%d. Run bootstrap.py with one of those."
            % sys.version_info[:2]
        )
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        stop("this Python cannot make virtual environments; on Debian: apt install python3-venv")


def stamp(options, extra):
    content = hashlib.sha256()
    for name in ("pyproject.toml", "constraints.txt", "bootstrap.py"):
        with open(os.path.join(HERE, name), "rb") as file:
            content.update(file.read())
    return {"files": content.hexdigest(), "python": sys.version, "options": options, "extras": [extra]}


def stamped(wanted):
    try:
        with open(STAMP) as file:
            found = json.load(file)
    except (OSError, ValueError):
        return False
    same = all(found.get(key) == wanted[key] for key in ("files", "python", "options"))
    return same and (wanted["extras"][0] in found["extras"] or "dev" in found["extras"])


def pip(*arguments, check=True, quiet=False):
    where = subprocess.DEVNULL if quiet else sys.stderr
    command = [PYTHON, "-m", "pip", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, stdout=where, stderr=where, check=False)
    if check and done.returncode:
        stop("pip %s failed (exit %d)" % (" ".join(arguments[:1]), done.returncode), 1)
    return done.returncode == 0


def torch_plan(cuda, probe, has_gpu, platform):
    """How torch is to be had: ("plain" | "index" | "cpu-index", why). Pure, tested."""
    if probe:
        return "plain", "a wheel lies in pip's find-links folder"
    if cuda or has_gpu or platform != "linux":
        return "index", "the configured index has the right build"
    return "cpu-index", "no GPU here: the CPU build saves gigabytes"


def install_torch(options):
    if subprocess.run([PYTHON, "-c", "import torch"], capture_output=True, check=False).returncode == 0:
        return
    probe = pip("install", "--dry-run", "--no-index", "--no-deps", "--report", "-", TORCH, check=False, quiet=True)
    has_gpu = shutil.which("nvidia-smi") is not None
    way, why = torch_plan("--cuda" in options, probe, has_gpu, sys.platform)
    say("torch: %s" % why)
    if way != "cpu-index":
        pip("install", "-q", TORCH)
    elif not pip("install", "-q", "--retries", "1", "--timeout", "15", *(CPU_INDEX + [TORCH]), check=False):
        stop(
            "the CPU build of torch could not be fetched. Ways out: --cuda (gigabytes from the usual index), "
            "PIP_FIND_LINKS=folder with a torch wheel, or --no-torch (everything but neural networks works)."
        )


def set_up(options, extra):
    wanted = stamp([o for o in options if o != "--offline"], extra)
    if stamped(wanted):
        return
    began = time.time()
    say("setting up %s (once)" % VENV)
    if not os.path.exists(PYTHON):
        subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
    offline = ["--no-index", "--find-links", options[-1]] if "--offline" in options else []
    pip("install", "-q", "--upgrade", "pip>=22.2", *offline, check=not offline)
    with_torch = "--no-torch" not in options
    if with_torch and not offline:
        install_torch(options)
    if not with_torch:
        extra = {"demo": "evm,demo-data", "dev": "dev-core"}[extra]
    constraints = os.path.join(HERE, "constraints.txt")
    pip("install", "-q", *offline, "-c", constraints, "-e", "%s[%s]" % (HERE, extra))
    with open(STAMP, "w") as file:
        json.dump(wanted, file)
    say("set up in %.0f s" % (time.time() - began))


def lock():
    """Write constraints.txt from a fresh environment of the lowest Python; drop labels and CUDA parts."""
    frozen = subprocess.run(
        [PYTHON, "-m", "pip", "freeze", "--exclude-editable"], capture_output=True, text=True, check=True
    )
    lines = [line.split("+")[0].split(" @ ")[0] for line in frozen.stdout.splitlines() if "==" in line]
    kept = [line for line in lines if not line.startswith(("nvidia-", "cuda-", "triton"))]
    with open(os.path.join(HERE, "constraints.txt"), "w") as file:
        file.write("# Exact versions the suite passes with; written by `make lock`.\n" + "\n".join(kept) + "\n")
    return 0


def run(verb, arguments):
    for command in COMMANDS[verb]:
        if command[0] == "{bin}/lint-imports":
            line = [os.path.join(BIN, "lint-imports")]
        else:
            line = [PYTHON, *command]
        last = command is COMMANDS[verb][-1]
        code = subprocess.run(line + (arguments if last else []), cwd=HERE, check=False).returncode
        if code:
            return code
    return 0


def main(arguments):
    check_python()
    options = []
    while arguments and arguments[0].startswith("--"):
        options.append(arguments.pop(0))
        if options[-1] == "--offline" and arguments:
            options.append(os.path.abspath(arguments.pop(0)))
    if not arguments or arguments[0] not in {*COMMANDS, "lock", "wheelhouse", "clean"}:
        stop(__doc__.strip())
    verb, arguments = arguments[0], arguments[1:]
    known = {"--no-torch", "--cuda", "--offline"}
    for option in list(arguments):
        if option in known - {"--offline"}:
            options.append(option)
            arguments.remove(option)
    unknown = [o for o in options if o.startswith("--") and o not in known]
    if unknown:
        stop("unknown option %s; known: %s" % (unknown[0], ", ".join(sorted(known))))
    if verb == "clean":
        shutil.rmtree(VENV, ignore_errors=True)
        return 0
    set_up(options, EXTRA.get(verb, "demo"))
    if verb == "lock":
        return lock()
    if verb == "wheelhouse":
        folder = os.path.join(HERE, "wheelhouse")
        pip("download", "-q", "-d", folder, "-c", os.path.join(HERE, "constraints.txt"), TORCH, "%s[demo]" % HERE)
        return 0
    return run(verb, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
