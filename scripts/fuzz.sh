#!/usr/bin/env bash
# Fuzzes the parsers: scripts/fuzz.sh [SECONDS] [TARGET...]; 60 seconds for each target unless said otherwise, two targets
# at a time. Seeds are those of tests/fuzz/corpus; what is found on the way stays in build/fuzz/corpus for the next run.
# An input that makes a parser misbehave lands in build/fuzz/findings, and the script fails.
# RUNS=N ends a target after N inputs, JOBS=N changes how many targets run at a time.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

have clang++ || { say "clang++ is not here"; exit 1; }
seconds=${1:-60}
shift || true
targets=("$@")

configure fuzz > /dev/null
[ ${#targets[@]} != 0 ] || read -ra targets < build/fuzz/targets.txt
cmake --build build/fuzz --parallel "$(getconf _NPROCESSORS_ONLN)" --target "${targets[@]/#/slimneck_fuzz_}" > build/fuzz/build.log ||
  { tail -n 40 build/fuzz/build.log; exit 1; }

# The stack of an allocation tells little and takes half of the time.
export ASAN_OPTIONS=${ASAN_OPTIONS:-malloc_context_size=1:quarantine_size_mb=8}

# fuzz TARGET: the last lines of its log say how many inputs it ran.
fuzz() {
  local grown=build/fuzz/corpus/$1 findings=build/fuzz/findings log=build/fuzz/$1.log code=0
  mkdir -p "$grown" "$findings"
  build/fuzz/bin/slimneck_fuzz_"$1" -max_len=65536 -rss_limit_mb=512 -malloc_limit_mb=256 -timeout=5 \
    -entropic=0 \
    -max_total_time="$seconds" -runs="${RUNS:--1}" -print_final_stats=1 -dict="tests/fuzz/dictionaries/$1.dict" \
    -artifact_prefix="$findings/$1-" "$grown" "tests/fuzz/corpus/$1" > "$log" 2>&1 || code=$?
  [ $code = 0 ] || tail -n 40 "$log"
  say "$1: $([ $code = 0 ] && echo nothing found || echo FOUND SOMETHING), $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") inputs"
  return $code
}

failed=0
for target in "${targets[@]}"; do
  while [ "$(jobs -rp | wc -l)" -ge "${JOBS:-2}" ]; do wait -n || failed=1; done
  fuzz "$target" &
done
while [ "$(jobs -p | wc -l)" != 0 ]; do wait -n || failed=1; done
exit $failed
