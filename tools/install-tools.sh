#!/bin/sh
# Install the compilers and emulators that lstmgen's tests use, with apt-get.
#
# What is present is left alone. Root's rights are asked for, through sudo, only if
# something is to be installed.
set -eu

# A program of each package, to see whether it is there.
needed='
gcc:gcc
g++:g++
clang:clang
arm-none-eabi-gcc:gcc-arm-none-eabi
riscv64-unknown-elf-gcc:gcc-riscv64-unknown-elf
avr-gcc:gcc-avr
arc-linux-gnu-gcc:gcc-arc-linux-gnu
qemu-system-arm:qemu-system-arm
qemu-system-riscv32:qemu-system-misc
qemu-system-riscv64:qemu-system-misc
simavr:simavr
valgrind:valgrind
cppcheck:cppcheck
frama-c:frama-c-base
clang-tidy:clang-tidy
'

packages=
missing() {
    case " $packages " in
    *" $1 "*) ;;
    *) packages="$packages $1" ;;
    esac
}

for pair in $needed; do
    command -v "${pair%%:*}" >/dev/null 2>&1 || missing "${pair#*:}"
done

# Headers and libraries are no programs: ask the compilers.
compiles() {
    printf '#include <%s>\n' "$2" | "$1" -fsyntax-only -x c - >/dev/null 2>&1
}
compiles gcc stdio.h || missing libc6-dev
compiles avr-gcc avr/io.h || missing avr-libc
# clang's sanitizers, which Debian packs apart and Ubuntu's older releases do not.
sanitizes() {
    echo 'int main(void) { return 0; }' \
        | clang -fsanitize=memory -x c - -o /dev/null >/dev/null 2>&1
}
sanitizes || missing libclang-rt-dev

if [ -z "$packages" ]; then
    echo "install-tools: all tools are present"
    exit 0
fi

if ! command -v apt-get >/dev/null 2>&1; then
    echo "install-tools: missing:$packages" >&2
    echo "install-tools: this system has no apt-get; install these (names of Debian's" \
        "packages) by its own package manager. lstmgen itself runs without them." >&2
    exit 1
fi

run() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null 2>&1; then
        sudo "$@"
    else
        echo "install-tools: missing:$packages" >&2
        echo "install-tools: not root, and no sudo: let root run $0" >&2
        exit 1
    fi
}

echo "install-tools: installing by apt-get:$packages"
# A repository that does not answer must not keep the others from serving.
run apt-get update || echo "install-tools: apt-get update failed; going on with known lists" >&2

# A release that lacks one of them shall have the others; the tests say what they miss.
available=
for package in $packages; do
    if apt-cache show "$package" >/dev/null 2>&1; then
        available="$available $package"
    else
        echo "install-tools: this release has no package $package; left out" >&2
    fi
done
# shellcheck disable=SC2086  # one word each
run env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends $available
