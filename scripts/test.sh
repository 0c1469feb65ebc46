#!/usr/bin/env bash
# Installs what is missing, builds everything and runs all tests.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

install_dependencies
configure release
build build/release
exec ctest --preset release --output-on-failure "$@"
