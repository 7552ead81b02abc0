#!/bin/sh
# Pack what a GPU machine without a network lacks: a folder of packages, for PYTHONPATH, in one file
# of about 23 MB. Its image must have torch, pyarrow, opencv, safetensors, jaxtyping and typer.
# Versions are the lock's; needs .venv, and the package index.
# Usage: infra/environment/gpu_bundle.sh [PYTHON_VERSION] [OUT]
# There: mkdir site; tar xJf gpu-bundle.tar.xz -C site; export PYTHONPATH=$PWD/site:$PWD
set -eu
cd "$(dirname "$0")/../.."
python="${1:-3.12}"
out="${2:-out/gpu-bundle.tar.xz}"

fail() { echo "error: $1" >&2; exit 9; }

case "$python" in
    3.11 | 3.12) ;;
    *) fail "Python $python: expected 3.11 or 3.12" ;;
esac
[ -f .venv/.installed ] || fail ".venv: not installed, expected 'make env' before"

site=$(mktemp -d)
trap 'rm -rf "$site"' EXIT
pins=$(grep -oE '^(annotated-types|hjson|pydantic|pydantic-core|typing-inspection|vizdoom)==[^ ;]+' \
    requirements/lock.txt)
# shellcheck disable=SC2086 - one word a package
.boot/bin/python -m pip install --quiet --no-deps --only-binary=:all: --target "$site" \
    --python-version "$python" --platform manylinux_2_28_x86_64 --platform manylinux2014_x86_64 \
    $pins || fail "the packages cannot be had for Python $python; run it again when the index answers"
# Of DeepSpeed there is no wheel; what is installed here is plain Python.
cp -R .venv/lib/python*/site-packages/deepspeed "$site"
# Maps and scenarios that nothing here walks; the package looks into the folder, so it stays.
rm -f "$site"/vizdoom/freedoom1.wad "$site"/vizdoom/scenarios/*
find "$site" -name __pycache__ -type d -prune -exec rm -rf {} +
# Without its execute bit the engine ends with a segmentation fault.
[ -x "$site/vizdoom/vizdoom" ] || fail "vizdoom: its engine is not executable, expected its wheel's bits"
mkdir -p "$(dirname "$out")"
tar cf - -C "$site" . | xz -T0 >"$out.partial"
mv "$out.partial" "$out"
ls -l "$out"
