#!/bin/sh
# Install the locked environment into .venv, once: a second call finds its stamp and leaves at once.
# Needs python3 (3.11 or 3.12) and a package index the first time; no network after that.
# Usage: infra/environment/install.sh [PYTHON]
set -eu
cd "$(dirname "$0")/../.."
python="${1:-python3}"
lock=requirements/lock.txt
stamp=.venv/.installed

fail() { echo "error: $1" >&2; exit 9; }

command -v "$python" >/dev/null 2>&1 || fail "$python: not found, expected Python 3.11 or 3.12"
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])') ||
    fail "$python does not run, expected Python 3.11 or 3.12"
case "$version" in
    3.11 | 3.12) ;;
    *) fail "$python is Python $version, expected 3.11 or 3.12 (make demo PYTHON=python3.12)" ;;
esac

wanted="$version $(cksum <"$lock") $(pwd)"
installed=""
if [ -f "$stamp" ]; then
    installed=$(cat "$stamp")
fi
if [ "$installed" = "$wanted" ]; then
    exit 0
fi
# What another Python made, or what was moved, is made anew; another lock changes what is there.
case "$installed" in
    "$version "*" $(pwd)") existing=--allow-existing ;;
    *) existing=--clear ;;
esac

echo "installing the environment into .venv (about 7 GB, once)" >&2
rm -f "$stamp"
"$python" -m venv --clear .boot || fail "$python -m venv failed; on Debian install python3-venv"
.boot/bin/python -m pip install --quiet --require-hashes -r requirements/uv.txt ||
    fail "uv cannot be installed; the first installation needs a package index"
.boot/bin/python -m uv venv --quiet "$existing" --python "$(command -v "$python")" .venv ||
    fail ".venv cannot be made with $python"
# Compiled once here, and not by every process that imports it where nobody may write bytecode.
.boot/bin/python -m uv pip sync --compile-bytecode --python .venv/bin/python --require-hashes \
    "$lock" ||
    fail "the locked packages cannot be installed; run it again when the package index answers"

# The project itself is run from here; a launcher that survives spaces in the path.
cat >.venv/bin/worldloom <<'LAUNCHER'
#!/bin/sh
bin=$(cd "$(dirname "$0")" && pwd)
PYTHONPATH="$bin/../..${PYTHONPATH:+:$PYTHONPATH}" exec "$bin/python" -m cli.main "$@"
LAUNCHER
chmod +x .venv/bin/worldloom
# So that the first command does not wait for its own sources to be compiled.
.venv/bin/python -m compileall -q cli components pipelines services worldloom || true
printf '%s' "$wanted" >"$stamp"
