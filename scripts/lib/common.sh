# Shared by the scripts: where the tree is, the Debian packages, and how a build folder is made. The script that reads
# this has set `root` (the top of the tree, absolute) and `set -eu`.

build_packages="gcc libc6-dev meson ninja-build"
run_packages="$build_packages python3"
bench_packages="libjemalloc2 libmimalloc2.0 libtcmalloc-minimal4 libtbbmalloc2 python3-matplotlib"
ext_packages="g++ pkg-config liburcu-dev libapr1-dev libboost-dev"
check_packages="$run_packages g++ binutils clang clang-format-14 clang-tidy-14 libclang-rt-14-dev libcriterion-dev pkg-config
  valgrind strace procps util-linux libpython3.11-testsuite sqlite3 redis-server redis-tools perl git xz-utils zstd coreutils
   bash spin cppcheck gcovr libnuma-dev libjemalloc-dev netbase $bench_packages $ext_packages" # netbase: /etc/hosts, where python's tests look up localhost
arm64_packages="gcc-aarch64-linux-gnu g++-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user"
lab_packages="qemu-system-x86 busybox-static"

say() {
    printf '== %s\n' "$*"
}

die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        env DEBIAN_FRONTEND=noninteractive "$@"
    elif command -v sudo >/dev/null; then
        sudo env DEBIAN_FRONTEND=noninteractive "$@"
    else
        die "needs root or sudo for: $*"
    fi
}

# Installs those of the named packages that are missing, and says which.
need_packages() {
    command -v apt-get >/dev/null || {
        say "no apt-get here; these must be there already:" $*
        return 0
    }
    missing=
    for package in $*; do
        state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) || state=
        [ "$state" = installed ] || missing="$missing $package"
    done
    [ -n "$missing" ] || return 0
    say "installing Debian packages:$missing"
    as_root apt-get update -qq
    as_root apt-get install -y -qq --no-install-recommends -o Dpkg::Use-Pty=0 $missing >/dev/null ||
        die "apt-get could not install:$missing"
}

# configure FOLDER MESON-OPTION...: makes or updates a build folder; talks, so call it through quietly. CROSS_FILE, if set,
# is for Meson.
configure() {
    folder=$1
    shift
    if [ -f "$folder/build.ninja" ]; then
        meson configure "$@" "$folder"
    else
        meson setup ${CROSS_FILE:+--cross-file "$CROSS_FILE"} "$@" "$folder" "$root"
    fi
}

# quietly LOG COMMAND...: runs the command and shows its output only if it fails, which is then our result too.
quietly() {
    log=$1
    shift
    mkdir -p "${log%/*}"
    "$@" >"$log" 2>&1 || {
        status=$?
        cat "$log"
        return "$status"
    }
}
