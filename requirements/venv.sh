#!/bin/sh
# Make or refresh a venv: requirements/venv.sh DIR MINIMUM REQUIREMENTS...
#
# DIR is made with the first working Python that is at least MINIMUM (such as
# 3.11); each REQUIREMENTS file is installed only when it is not the one that
# was installed last. Exit code 3: there is no such Python on this machine.
set -eu

dir=$1
minimum=$2
shift 2

# Prints the first interpreter that runs and is new enough. A shim on PATH may be dead or old.
find_python() {
    for name in python3 python3.13 python3.12 python3.11 /usr/bin/python3 \
        "${HOME:-/root}"/.pyenv/versions/3.1[0-9]*/bin/python3; do
        found=$("$name" -c "
import sys
wanted = tuple(int(part) for part in '$minimum'.split('.'))
sys.version_info[:2] >= wanted or sys.exit(1)
print(sys.executable)" 2>/dev/null) || continue
        echo "$found"
        return 0
    done
    return 1
}

# Debian ships venv without ensurepip unless python3-venv is installed.
ensure_venv_module() {
    "$1" -c 'import ensurepip' 2>/dev/null && return 0
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        echo "python3-venv is missing: install it (sudo apt-get install python3-venv) and run make again" >&2
        exit 1
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -qq -y --no-install-recommends python3-venv >/dev/null
}

if ! "$dir/bin/python" -c 'import pip' 2>/dev/null; then
    python=$(find_python) || {
        echo "no working Python $minimum or newer was found for $dir: install one, then run make again" >&2
        exit 3
    }
    ensure_venv_module "$python"
    rm -rf "$dir"
    "$python" -m venv "$dir"
fi

for requirements in "$@"; do
    installed=$dir/.installed-$(basename "$requirements")
    cmp -s "$requirements" "$installed" && continue
    echo "installing $(basename "$requirements") into $dir" >&2
    "$dir/bin/python" -m pip install --quiet --disable-pip-version-check -r "$requirements"
    cp "$requirements" "$installed"
done
