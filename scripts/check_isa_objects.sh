#!/usr/bin/env bash
# check_isa_objects.sh BUILD_DIR [--spills]
#
# Objects compiled for one instruction set (CMakeFiles/slimneck_kernels_<isa>.dir) must define nothing that the linker
# could hand to code compiled for another: no weak symbol (an inline function or a template of a header: the copy that is
# kept may be the AVX-512 one) and no name outside slimneck::kernels::<isa>. Fails and lists what it found.
#
# --spills also reads the machine code of avx2 and avx512: how often vectors are kept on the stack inside innermost loops,
# against the multiply-adds there. It fails where a loop of avx512 with at least 8 multiply-adds has as many stack accesses:
# an accumulator array that lives in memory. Fewer can be meant (a transform's buffer), and 16 registers are few, so the
# rest is only shown, object by object with its worst loop.
# For optimised builds without sanitizers.
set -euo pipefail
[ $# -ge 1 ] && [ -d "$1" ] || { echo "usage: $0 BUILD_DIR [--spills]" >&2; exit 2; }
build=$1 spills=${2:-}
nm=${NM:-nm} objdump=${OBJDUMP:-objdump}
status=0

# Weak symbols that compilers make themselves and that hold no vector code: the end of a noexcept function (clang), a
# pointer to the personality routine, and bookkeeping of sanitizers.
harmless='^(__clang_call_terminate|DW\.ref\.__g(cc|xx)_personality_v0|__odr_asan.*|__asan_.*|__tsan_.*|__ubsan_.*|__sanitizer_.*|__start_asan_.*|__stop_asan_.*|___asan_.*|asan\.module_.tor.*|tsan\.module_.tor.*)$'

# symbols ISA OBJECT: prints what the object may not define.
symbols() {
  local isa=$1
  "$nm" --portability "$2" | awk -v own="^_ZNK?8slimneck7kernels${#isa}${isa}" -v harmless="$harmless" '
    $1 ~ harmless { next }
    $2 ~ /^[WVuwv]$/ { print "  weak:    " $1; next }
    $2 ~ /^[A-TX-Z]$/ && $2 !~ /^[UN]$/ && $1 !~ own { print "  foreign: " $1 }'
}

# loops OBJECT REGISTER: for each innermost loop that multiplies and adds: function, multiply-adds, stack accesses.
loops() {
  "$objdump" -d --no-show-raw-insn "$1" | awk -v vector="$2" '
    function finish(   i, j, from, fma, stack, inner) {
      for (i = 1; i <= lines; ++i) {
        if (!(i in target) || !(target[i] in line_of)) continue
        from = line_of[target[i]]
        if (from > i) continue  # a jump ahead
        fma = stack = 0
        inner = 1
        for (j = from; j <= i && inner; ++j) {
          if (j < i && (j in target) && (target[j] in line_of) && line_of[target[j]] <= j && line_of[target[j]] >= from)
            inner = 0
          if (text[j] ~ /vfn?m(add|sub)[0-9]*[ps]s/) ++fma
          if (text[j] ~ vector && text[j] ~ /\(%rsp|-0x[0-9a-f]+\(%rbp\)/) ++stack
        }
        if (inner && fma) print name, fma, stack
      }
    }
    function clear() { split("", target); split("", line_of); split("", text); lines = 0 }
    /^[0-9a-f]+ <.*>:$/ { finish(); clear(); name = $2; gsub(/[<>:]/, "", name); next }
    /^ *[0-9a-f]+:/ {
      ++lines
      address = $1
      sub(/:/, "", address)
      line_of[address] = lines
      text[lines] = $0
      if ($2 ~ /^j[^m]/) target[lines] = $3  # not jmp: what is out of line ends with one, backwards
    }
    END { finish() }'
}

found=0
for folder in $(find "$build" -type d -name 'slimneck_kernels_*.dir' | sort); do
  isa=${folder##*slimneck_kernels_}
  isa=${isa%.dir}
  while read -r object; do
    found=$((found + 1))
    wrong=$(symbols "$isa" "$object")
    if [ -n "$wrong" ]; then
      echo "$object defines"
      "${CXXFILT:-c++filt}" <<< "$wrong"
      status=1
    fi
  done < <(find "$folder" -name '*.o' | sort)
done
echo "symbols of $found objects: $([ $status = 0 ] && echo ok || echo FAILED)"
[ $found -gt 0 ] || { echo "no objects in $build" >&2; exit 2; }

if [ "$spills" = --spills ]; then
  printf '%-8s %8s %8s %8s %6s  %s\n' isa loops madds stack worst object
  for pair in avx2:ymm avx512:zmm; do
    isa=${pair%:*}
    for object in $(find "$build" -path "*slimneck_kernels_$isa.dir/*.o" | sort); do
      list=$(loops "$object" "${pair#*:}")
      [ -n "$list" ] || continue
      awk -v isa="$isa" -v object="${object##*.dir/}" '
        { ++n; madds += $2; stack += $3 }
        $2 >= 8 && $3 / $2 > worst { worst = $3 / $2; where = $0 }
        END {
          printf "%-8s %8d %8d %8d %6.2f  %s\n", isa, n, madds, stack, worst, object
          if (worst > 0.25) print "  worst loop: " where " (function, multiply-adds, stack accesses)"
          exit isa == "avx512" && worst >= 1
        }' <<< "$list" || status=1
    done
  done
fi
exit $status
