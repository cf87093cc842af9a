#!/bin/sh
# Installs what a make target needs and this machine lacks, and says so.
#   scripts/deps.sh demo|test|bench|deb
# On Debian and its relatives through apt, as root or through sudo; elsewhere it
# names what is missing and fails. What is already here is never touched.
set -eu

target=${1:-test}

# One line per need: what must be there (a command, or a path), and the Debian
# package that brings it.
lab='ip iproute2
tc iproute2
ss iproute2
nft nftables
iptables iptables
ethtool ethtool
ping iputils-ping'

case $target in
demo) needs=$lab ;;
bench) needs="$lab
iperf3 iperf3" ;;
test) needs="$lab
iperf3 iperf3
tshark tshark
tcpdump tcpdump
conntrack conntrack
hping3 hping3
miniupnpd miniupnpd
nc netcat-openbsd
sysctl procps
jq jq
gcc gcc
/usr/include/stdlib.h libc6-dev
/lib/systemd/systemd-journald systemd
journalctl systemd" ;;
deb) needs='dpkg-deb dpkg' ;;
*)
	echo "deps.sh: unknown target '$target', want demo, test, bench or deb" >&2
	exit 2
	;;
esac

# Tools for root live where a user's PATH may not look.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

missing='' packages=''
while read -r thing package; do
	case $thing in
	/*) [ -e "$thing" ] && continue ;;
	*) command -v "$thing" >/dev/null 2>&1 && continue ;;
	esac
	missing="$missing $thing"
	case " $packages " in
	*" $package "*) ;;
	*) packages="$packages $package" ;;
	esac
done <<EOF
$needs
EOF

if [ -z "$missing" ]; then
	exit 0
fi
if ! command -v apt-get >/dev/null 2>&1; then
	echo "make $target needs these, and there is no apt here to install them:$missing" >&2
	echo "(on Debian they come with:$packages)" >&2
	exit 1
fi

root=''
if [ "$(id -u)" -ne 0 ]; then
	if ! command -v sudo >/dev/null 2>&1; then
		echo "make $target needs these packages; install them as root (there is no sudo here):$packages" >&2
		exit 1
	fi
	root='sudo'
fi
apt() { $root env DEBIAN_FRONTEND=noninteractive apt-get -q -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=120 "$@"; }

echo "make $target: installing by apt:$packages (missing:$missing)"
case " $packages " in
*' tshark '*)
	# The one question that tshark asks: may ordinary users capture? They need not.
	if command -v debconf-set-selections >/dev/null 2>&1; then
		echo 'wireshark-common wireshark-common/install-setuid boolean false' | $root debconf-set-selections
	fi
	;;
esac
# The package lists of a fresh machine are empty or old: fetch them when the
# first try says so, not every time.
# shellcheck disable=SC2086
if ! apt install -y --no-install-recommends $packages >/dev/null 2>&1; then
	apt update
	apt install -y --no-install-recommends $packages
fi
