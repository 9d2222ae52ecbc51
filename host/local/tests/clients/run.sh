#!/bin/sh
# Proves that other clients take the local backend for Kinesis and DynamoDB: boto3 (JSON), the Java SDK 2 (CBOR,
# HTTP/2) and the Java KCL 3.x (polling and fan-out, with reshards before and while it runs).
#
# Opt-in: needs python3 with boto3, or java 17 with mvn and access to Maven Central. What is missing is skipped, and
# said. A KCL run takes about a minute. Usage: run.sh [SHARDMILL_BINARY]
set -eu

here=$(cd "$(dirname "$0")" && pwd)
binary=${1:-$here/../../../../target/debug/shardmill}
work=$(mktemp -d)
server=
cleanup() {
    [ -z "$server" ] || kill "$server" 2>/dev/null || true
    rm -rf "$work"
}
trap cleanup EXIT INT TERM

"$binary" local --kinesis-port 0 --dynamodb-port 0 --no-limits --json >"$work/endpoints" &
server=$!
tries=0
until [ -s "$work/endpoints" ]; do
    tries=$((tries + 1))
    [ "$tries" -lt 100 ] || { echo "the local backend did not start within 10 s" >&2; exit 1; }
    sleep 0.1
done
AWS_ENDPOINT_URL_KINESIS=$(sed 's/.*"kinesis":"\([^"]*\)".*/\1/' "$work/endpoints")
AWS_ENDPOINT_URL_DYNAMODB=$(sed 's/.*"dynamodb":"\([^"]*\)".*/\1/' "$work/endpoints")
AWS_REGION=us-east-1 AWS_DEFAULT_REGION=us-east-1 AWS_ACCESS_KEY_ID=local AWS_SECRET_ACCESS_KEY=local
export AWS_ENDPOINT_URL_KINESIS AWS_ENDPOINT_URL_DYNAMODB
export AWS_REGION AWS_DEFAULT_REGION AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY

if python3 -c 'import boto3' 2>/dev/null; then
    python3 "$here/boto3_check.py"
else
    echo "SKIPPED boto3: python3 cannot import boto3"
fi

if command -v mvn >/dev/null && command -v java >/dev/null; then
    cp -R "$here/java" "$work/java"
    cd "$work/java"
    mvn -q -B compile dependency:build-classpath -Dmdep.outputFile="$work/classpath"
    run() {
        java -Dorg.slf4j.simpleLogger.defaultLogLevel=error -cp "target/classes:$(cat "$work/classpath")" "$@"
    }
    run shardmill.SdkCheck
    run shardmill.KclCheck polling
    run shardmill.KclCheck fan-out
else
    echo "SKIPPED Java SDK and KCL: no mvn or no java"
fi
