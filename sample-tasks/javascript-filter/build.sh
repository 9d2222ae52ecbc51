#!/bin/sh
# Builds javascript_filter.wasm into the directory given, or into ../target/javascript, unless nothing has changed.
# Needs Node 20 and npm. Exit code 69: they, or the registry, are not available.
set -eu
cd "$(dirname "$0")"
target=${1:-../target/javascript}
wit=../../wit/shardmill-task-0.1.0
component=$target/javascript_filter.wasm

if [ -e "$component" ] && [ -z "$(find . "$wit" -type f -newer "$component")" ]; then
    echo "$(realpath "$component") is up to date"
    exit 0
fi
command -v npm >/dev/null || { echo "npm is not installed"; exit 69; }
mkdir -p "$target"
cp package.json "$target"
# No lock file: the one dependency is exact here, and it pins its own exactly.
(cd "$target" && npm install --no-package-lock --no-audit --no-fund --loglevel=error \
    --fetch-retries=1 --fetch-timeout=30000) || { echo "npm cannot install componentize-qjs"; exit 69; }
# --sync: without it the component has the asynchronous ABI, which a WASI 0.2 host refuses.
"$target/node_modules/.bin/componentize-qjs" --sync --wit "$wit" -n batch-task --js filter.js -o "$component"
echo "$(realpath "$component"): a component, ready for 'shardmill deploy'"
