#!/bin/sh
# usage: image.sh STAGE VERSION GOARCH DIR   (make image)
# Makes the OCI image DIR/jackdaw_VERSION_GOARCH.oci.tar of STAGE/jackdaw, a static binary, with buildah. It is FROM scratch:
# the binary, the roots of trust of this machine, a user, and /data. SOURCE_DATE_EPOCH is the time of the version.
# It needs no network and no privileges but a range of user ids for whoever is not root (/etc/subuid).
set -eu
umask 022
stage=$1 version=$2 arch=$3 out=$4

command -v buildah > /dev/null || { echo 'buildah is missing: apt-get install buildah' >&2; exit 1; }
roots=/etc/ssl/certs/ca-certificates.crt
[ -e $roots ] || { echo 'roots of trust are missing: apt-get install ca-certificates' >&2; exit 1; }

# Number and name of nobody who is on a machine.
user=65532
mkdir -p "$stage/etc/ssl/certs" "$stage/tmp"
cp $roots "$stage/$roots"
echo "jackdaw:x:$user:$user::/data:/sbin/nologin" > "$stage/etc/passwd"
echo "jackdaw:x:$user:" > "$stage/etc/group"
chmod 0755 "$stage"
chmod 1777 "$stage/tmp"

# Its storage is thrown away; nothing of the images that are here is touched.
storage=$(mktemp -d)
work="buildah --root $storage/root --runroot $storage/run --storage-driver vfs"
trap '$work rm --all > /dev/null 2>&1 || :; rm -rf "$storage" 2> /dev/null || buildah unshare rm -rf "$storage"' EXIT
export BUILDAH_ISOLATION=chroot

mkdir -p "$storage/user/data"
chmod 0700 "$storage/user/data"
container=$($work from scratch)
$work copy --quiet --chown $user:$user "$container" "$storage/user" / > /dev/null
$work copy --quiet --chown 0:0 "$container" "$stage" / > /dev/null
$work config --os linux --arch "$arch" --user $user:$user --workingdir /data --volume /data \
    --entrypoint '["/jackdaw"]' --cmd serve --stop-signal SIGTERM \
    --port 443/tcp --port 5222/tcp --port 5223/tcp --port 5269/tcp --port 5270/tcp --port 5280/tcp --port 5284/tcp \
    --label org.opencontainers.image.title=jackdaw --label "org.opencontainers.image.version=${version#v}" \
    --label 'org.opencontainers.image.description=XMPP server that also posts messages over HTTP' "$container"

mkdir -p "$out"
file=$out/jackdaw_${version#v}_$arch.oci.tar
rm -f "$file" # else the image is added to what is in it
$work commit --quiet --disable-compression=false --timestamp "$SOURCE_DATE_EPOCH" "$container" "oci-archive:$file:jackdaw:${version#v}" > /dev/null
echo "built the image jackdaw:${version#v} in '$file'."
