#!/usr/bin/env bash
# How many lines of the parsers the tests run: scripts/coverage.sh [--lines]. Prints a table, with --lines the lines that
# no test runs too, and fails when less than 95 % of them are run. Builds into build/coverage.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

goal=95
have gcov || { say "gcov is not here"; exit 1; }
folder=build/coverage
export CCACHE_BASEDIR=  # gcov finds sources by the names that the compiler was given: whole ones
[ -f $folder/build.ninja ] || cmake -S . -B $folder -G Ninja -DCMAKE_BUILD_TYPE=Release -DSLIMNECK_BUILD_BENCH=OFF \
  -DSLIMNECK_BUILD_EXAMPLES=OFF -DSLIMNECK_BUILD_CLI=OFF -DSLIMNECK_CUDA=OFF -DSLIMNECK_COVERAGE=ON > /dev/null
read -ra targets < $folder/targets.txt
build $folder slimneck_tests "${targets[@]/#/slimneck_replay_}" > $folder/build.log || { tail -n 40 $folder/build.log; exit 1; }
find $folder -name '*.gcda' -delete
ctest --test-dir $folder -R '^(io_.*|fuzz_.*|model_yaml|state_dict|data_.*|hyp|checkpoint)$' --output-on-failure > $folder/tests.log ||
  { tail -n 40 $folder/tests.log; exit 1; }

# gcov prints "File 'NAME'" and "Lines executed:P% of N" for a source and every header that it includes.
mkdir -p $folder/gcov
(cd $folder/gcov && find .. -name '*.gcda' -path '*slimneck_objects*' -exec gcov -r -s "$OLDPWD" {} + 2> /dev/null) |
  awk -v goal=$goal '
    /^File / { split($0, part, "\x27"); file = part[2] }
    /^Lines executed/ && file ~ /^src\/.*\.cpp$/ {
      split($0, part, /[:% ]+/)
      printf "%-26s %6.2f %% of %4d lines\n", file, part[3], part[5]
      run += part[3] * part[5]; all += part[5]; file = ""
    }
    END { if (!all) { print "nothing was counted"; exit 1 }; printf "%-26s %6.2f %% of %4d lines\n", "all", run / all, all; exit run / all < goal }' | sort || code=$?
if [ "${1:-}" = --lines ]; then grep -H '#####' $folder/gcov/*.cpp.gcov | sed 's/.*gcov://'; fi
exit ${code:-0}
