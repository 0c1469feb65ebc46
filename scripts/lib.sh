# What the other scripts share: `. "$(dirname "$0")/lib.sh"` goes to the root of the project and gives the functions below.
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export DEBIAN_FRONTEND=noninteractive

# Debian and Ubuntu packages. Without an optional one the project builds too, with less in it.
required_packages=(g++ cmake ninja-build pkg-config libyaml-cpp-dev nlohmann-json3-dev zlib1g-dev libssl-dev libstb-dev
                   libcli11-dev libeigen3-dev doctest-dev libbenchmark-dev)
optional_packages=(ccache libturbojpeg0-dev libdnnl-dev)

say() { printf '== %s\n' "$*"; }
have() { command -v "$1" > /dev/null; }

# missing PACKAGE...: those that are not installed.
missing() {
  local package
  for package in "$@"; do
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2> /dev/null)" = installed ] || echo "$package"
  done
}

# install_packages PACKAGE...: installs those that are missing; fails where that cannot be done.
install_packages() {
  local wanted sudo=()
  mapfile -t wanted < <(missing "$@")
  [ ${#wanted[@]} = 0 ] && return
  [ "$(id -u)" = 0 ] || sudo=(sudo)
  if [ ${#sudo[@]} = 1 ] && ! have sudo; then
    say "neither root nor sudo here; please install: ${wanted[*]}"
    return 1
  fi
  say "installing ${wanted[*]}"
  "${sudo[@]}" apt-get update -qq || say "the package lists may be old"
  "${sudo[@]}" env DEBIAN_FRONTEND=$DEBIAN_FRONTEND apt-get install -y -qq --no-install-recommends -o Dpkg::Use-Pty=0 \
    -o DPkg::Lock::Timeout=120 "${wanted[@]}" > /dev/null
}

# Everything that the build needs. Where it cannot be installed the build is tried with what is there.
install_dependencies() {
  if have apt-get && have dpkg-query; then
    install_packages "${required_packages[@]}" || say "going on with what is there"
    # An optional one that this release does not know, or that does not install, is done without.
    local package known=()
    for package in $(missing "${optional_packages[@]}"); do
      if apt-cache show "$package" > /dev/null 2>&1; then known+=("$package"); fi
    done
    [ ${#known[@]} = 0 ] || install_packages "${known[@]}" || say "going on without ${known[*]}"
  else
    say "no apt here; needed is what these Debian packages hold: ${required_packages[*]}"
    say "and, if you like: ${optional_packages[*]}"
  fi
  local tool
  for tool in cmake c++; do
    have $tool || { say "$tool is not here"; exit 1; }
  done
}

# configure PRESET [CMAKE OPTION...]: once; later runs of the build configure again by themselves when something changed.
configure() {
  local preset=$1
  shift
  [ -f "build/$preset/build.ninja" ] || [ -f "build/$preset/Makefile" ] && return
  have ninja || set -- -G "Unix Makefiles" "$@"
  cmake --preset "$preset" "$@"
}

# build DIRECTORY [TARGET...]
build() {
  cmake --build "$1" --parallel "$(getconf _NPROCESSORS_ONLN)" ${2:+--target "${@:2}"}
}
