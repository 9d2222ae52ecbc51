#!/bin/sh
# Builds python_filter.wasm into the directory given, or into ../target/python, unless nothing has changed.
# Needs Python 3.10 or newer with venv. Exit code 69: it, or the package index, is not available.
set -eu
cd "$(dirname "$0")"
target=${1:-../target/python}
wit=../../wit/shardmill-task-0.1.0
component=$target/python_filter.wasm

if [ -e "$component" ] && [ -z "$(find . "$wit" -type f -newer "$component")" ]; then
    echo "$(realpath "$component") is up to date"
    exit 0
fi
command -v python3 >/dev/null || { echo "python3 is not installed"; exit 69; }
mkdir -p "$target"
[ -x "$target/venv/bin/pip" ] || python3 -m venv "$target/venv" || { echo "python3 has no venv"; exit 69; }
"$target/venv/bin/pip" install --quiet --disable-pip-version-check --timeout 30 --retries 1 \
    --requirement requirements.txt || { echo "pip cannot install componentize-py"; exit 69; }
# A copy, because the tool leaves its byte code beside the source. Without VIRTUAL_ENV, or the packages of whichever
# environment is active would go in.
mkdir -p "$target/app"
cp filter.py "$target/app"
env -u VIRTUAL_ENV "$target/venv/bin/componentize-py" -d "$wit" -w batch-task \
    componentize -p "$target/app" filter -o "$component"
echo "$(realpath "$component"): a component, ready for 'shardmill deploy'"
