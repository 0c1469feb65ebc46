#!/usr/bin/env bash
# Installs what is missing, builds and runs the demonstration.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

install_dependencies
configure release
build build/release slimneck_cli
exec build/release/bin/slimneck demo "$@"
