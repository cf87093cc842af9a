#!/bin/sh
# Packs a built binary as a Debian package into dist/. Environment: BUILT (path
# of the binary), VERSION (as git describe gives it).
set -eu

arch=$(dpkg --print-architecture)
# A Debian version starts with a digit and knows no dash but the last. What is
# not built from a tag is older than every release.
case $VERSION in
v[0-9]*) version=$(printf '%s' "$VERSION" | sed -e 's/^v//' -e 's/-/+/g') ;;
*) version="0~git$(date -u +%Y%m%d)+$(printf '%s' "$VERSION" | sed -e 's/-/+/g')" ;;
esac

tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
chmod 755 "$tree"
install -D -m 755 "$BUILT" "$tree/usr/bin/lightweight-tunnel"
install -d "$tree/usr/share/bash-completion/completions" "$tree/usr/share/zsh/vendor-completions" \
	"$tree/usr/share/fish/vendor_completions.d" "$tree/usr/share/man/man8" "$tree/lib/systemd/system" "$tree/DEBIAN"
"$BUILT" completion bash >"$tree/usr/share/bash-completion/completions/lightweight-tunnel"
"$BUILT" completion zsh >"$tree/usr/share/zsh/vendor-completions/_lightweight-tunnel"
"$BUILT" completion fish >"$tree/usr/share/fish/vendor_completions.d/lightweight-tunnel.fish"
"$BUILT" man | gzip -9n >"$tree/usr/share/man/man8/lightweight-tunnel.8.gz"
install -D -m 644 LICENSE "$tree/usr/share/doc/lightweight-tunnel/copyright"
# One unit per configuration: systemctl enable --now lightweight-tunnel@NAME
# runs /etc/lightweight-tunnel/NAME.json.
sed -e 's|@BINARY@|/usr/bin/lightweight-tunnel|' -e 's|@CONFIG@|/etc/lightweight-tunnel/%i.json|' -e 's|@NAME@|%i|g' \
	scripts/lightweight-tunnel.service.in >"$tree/lib/systemd/system/lightweight-tunnel@.service"
chmod 644 "$tree/lib/systemd/system/lightweight-tunnel@.service"

cat >"$tree/DEBIAN/control" <<EOF
Package: lightweight-tunnel
Version: $version
Architecture: $arch
Maintainer: the lightweight-tunnel authors <lightweight-tunnel@localhost>
Section: net
Priority: optional
Recommends: nftables
Homepage: https://github.com/openbmx/lightweight-tunnel
Description: encrypted mesh over fake TCP
 Connects sites behind NAT into one encrypted network, over flows that look and
 behave like TCP to what is between them.
EOF

mkdir -p dist
dpkg-deb --root-owner-group --build "$tree" "dist/lightweight-tunnel_${version}_${arch}.deb"
