#!/bin/sh
# usage: deb.sh STAGE VERSION GOARCH DIR   (make deb)
# Makes the Debian package DIR/jackdaw_VERSION_ARCH.deb of STAGE, which has the binary, man pages and completions already;
# adds everything else. Runs at the root of the sources. SOURCE_DATE_EPOCH is the time of the
# version; MAINTAINER and DPKG_DEB_FLAGS may be set.
set -eu
umask 022
stage=$1 version=$2 out=$4
case $3 in 386) arch=i386 ;; arm) arch=armhf ;; *) arch=$3 ;; esac
here=packaging/debian

# The version as dpkg sorts it: v1.2.3 is 1.2.3, 1.2.3-rc1 comes before it, 1.2.3-4-gabc after it, and what has no number
# before all that has one, by the time of the commit.
if printf '%s\n' "$version" | grep -Eq '^v?[0-9]+(\.[0-9]+)+'; then
    version=$(printf '%s\n' "${version#v}" | sed -E 's/-(alpha|beta|rc)/~\1/; s/-/+/g')
else
    version="0~git$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y%m%d.%H%M%S).$(printf '%s\n' "$version" | tr - +)"
fi

doc=$stage/usr/share/doc/jackdaw
mkdir -p "$doc" "$stage/etc/jackdaw" "$stage/usr/lib/systemd/system" "$stage/DEBIAN"
install -m 0644 contrib/jackdaw.yaml "$stage/etc/jackdaw/jackdaw.yaml"
# The unit of contrib, without how to install it, and with the right to ports below 1024.
sed -e '/^#/d' -e 's#/usr/local/bin/#/usr/bin/#' -e 's/^\(Capability.*\|Ambient.*\)=$/\1=CAP_NET_BIND_SERVICE/' \
    -e 's/^PrivateUsers=.*/PrivateUsers=no/' contrib/jackdaw.service | cat -s | sed '1{/^$/d}' \
    > "$stage/usr/lib/systemd/system/jackdaw.service"
install -m 0644 docs/*.md docs/jackdaw.yaml "$doc"
mkdir "$doc/examples"
cp -r contrib/*/ "$doc/examples"

# What others wrote and is linked in, with its licences, which ask for that.
{
    echo 'This package contains the Go standard library and these modules, under the licences below.'
    ${GO:-go} list -deps -f '{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}} {{.Dir}}{{end}}{{end}}' ./cmd/jackdaw |
        sort -u | { echo "Go $(${GO:-go} env GOVERSION) $(${GO:-go} env GOROOT)"; cat; } |
        while read -r name number dir; do
            printf '\n==== %s %s\n\n' "$name" "$number"
            find "$dir" -maxdepth 1 -type f \( -iname 'LICEN[CS]E*' -o -iname 'COPYING*' \) | sort | xargs cat
        done
} > "$doc/copyright"

find "$stage/usr/share/man" -type f -name '*.[0-9]' -exec gzip -9n {} +

echo /etc/jackdaw/jackdaw.yaml > "$stage/DEBIAN/conffiles"
install -m 0755 $here/postinst $here/prerm $here/postrm "$stage/DEBIAN"
sed -e "s/@VERSION@/$version/" -e "s/@ARCH@/$arch/" -e "s/@MAINTAINER@/${MAINTAINER:-jackdaw <root@localhost>}/" \
    -e "s/@SIZE@/$(du -sk --apparent-size "$stage" | cut -f1)/" $here/control.in > "$stage/DEBIAN/control"
(cd "$stage" && find usr -type f -print0 | sort -z | xargs -0 md5sum > DEBIAN/md5sums)
chmod -R u=rwX,go=rX "$stage"

mkdir -p "$out"
dpkg-deb --root-owner-group ${DPKG_DEB_FLAGS:-} --build "$stage" "$out" | sed 's/^dpkg-deb: //'
